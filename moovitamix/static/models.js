// Draws every canvas.mm-chart with Unfold's Chart.js from the data in its data-value attribute.
(() => {
  const charts = [];
  // Evidence ratios range from 1/100 to a million; win shares differ only in the middle of 0 to 100 %.
  const SCALES = { zero: { beginAtZero: true }, ratio: { type: "logarithmic" }, share: { suggestedMin: 40, suggestedMax: 60 } };
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // A canvas does not resolve CSS variables.
  const colour = (value) => {
    if (Array.isArray(value)) return value.map(colour);
    return /^var\(/.test(value || "") ? style(value.slice(4, -1)) || "#7c3aed" : value;
  };

  // The names of the largest bubbles.
  const LABELS = {
    id: "labels",
    afterDatasetsDraw(chart) {
      const { ctx, chartArea } = chart;
      ctx.save();
      ctx.fillStyle = getComputedStyle(chart.canvas).color;
      // Keeps a name legible on its bubble.
      ctx.strokeStyle = style("--mm-surface") || "#fff";
      ctx.lineWidth = 3;
      ctx.lineJoin = "round";
      ctx.font = "12px sans-serif";
      const drawn = [];
      chart.getDatasetMeta(0).data.forEach((bubble, index) => {
        const { label } = chart.data.datasets[0].data[index];
        if (!label) return;
        const half = ctx.measureText(label).width / 2;
        const x = Math.min(Math.max(bubble.x, chartArea.left + half), chartArea.right - half);
        // A name that would cover another one is left out; the tooltip has it.
        if (drawn.some((one) => Math.abs(one.y - bubble.y) < 14 && Math.abs(one.x - x) < one.half + half)) return;
        drawn.push({ x, y: bubble.y, half });
        ctx.textAlign = "center";
        ctx.strokeText(label, x, bubble.y + 4);
        ctx.fillText(label, x, bubble.y + 4);
      });
      ctx.restore();
    },
  };

  function options(type, scale) {
    const muted = style("--mm-muted") || "#64748b";
    const line = style("--mm-line") || "#e2e8f0";
    const axis = { ticks: { color: muted, maxRotation: 0, autoSkip: true, autoSkipPadding: 12 }, grid: { color: line } };
    const bare = { ticks: { display: false }, grid: { color: line } };
    const axes = type === "bubble" ? { x: bare, y: bare } : { x: axis, y: { ...axis, ...SCALES[scale || "zero"] } };
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: type === "bubble" ? {} : { mode: "index", intersect: false },
      scales: axes,
      plugins: {
        legend: { display: type !== "bubble", position: "bottom", labels: { color: muted, usePointStyle: true, pointStyle: "rectRounded", filter: (item) => item.text } },
        tooltip:
          type === "bubble" ? { callbacks: { label: (item) => [item.raw.name, ...(item.raw.examples || [])] } } : {},
      },
      onClick: (_event, [hit], chart) => {
        const url = hit && chart.data.datasets[hit.datasetIndex].data[hit.index].url;
        if (url) location.assign(url);
      },
    };
  }

  function draw() {
    charts.splice(0).forEach((chart) => chart.destroy());
    document.querySelectorAll("canvas.mm-chart").forEach((canvas) => {
      const data = JSON.parse(canvas.dataset.value);
      data.datasets.forEach((set) => {
        set.borderColor = colour(set.borderColor);
        set.backgroundColor = colour(set.backgroundColor);
        set.borderWidth = set.borderWidth ?? 2;
        set.pointRadius = set.pointRadius ?? 2;
        set.tension = set.tension ?? 0;
      });
      const { type, scale } = canvas.dataset;
      charts.push(new Chart(canvas, { type, data, options: options(type, scale), plugins: type === "bubble" ? [LABELS] : [] }));
    });
  }

  draw();
  // Redraws when the root's "dark" class changes.
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["class"] });
})();
