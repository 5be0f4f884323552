// Draws the charts of the operations pages. Each canvas names the JSON script element with its data; the page
// shows the same numbers as a table.
"use strict";

// In the page's language: operations/chart_words.html.
const WORDS = document.getElementById("mm-words").dataset;
const UNITS = {
  bytes: [[1e9, WORDS.gb], [1e6, WORDS.mb], [1e3, WORDS.kb], [1, WORDS.b]],
  seconds: [[172800, WORDS.days, 86400], [5400, "h", 3600], [90, "min", 60], [0.1, "s", 1], [1e-9, "ms", 1e-3], [0, "s", 1]],
};
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 604800, 2592000];
const STATUSES = { succeeded: "--mm-good", partial: "--mm-warn" };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function formatMeasure(value, unit) {
  if (value === null || value === undefined) return WORDS.notMeasured;
  if (unit === "share") return `${formatNumber(100 * value)} %`;
  for (const [from, name, length] of UNITS[unit] || []) {
    if (Math.abs(value) >= from) return `${formatNumber(value / (length || from))} ${name}`;
  }
  return formatNumber(value);
}

function formatNumber(value) {
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 1;
  // Two significant digits: 0.003 must not read 0.
  const options = Math.abs(value) < 1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: digits };
  const text = value.toLocaleString("en", options).replaceAll(",", "\u202f");
  return document.documentElement.lang === "fr" ? text.replace(".", ",") : text;
}

// One tooltip element for all charts: a tooltip inside a small canvas would be cut off.
function tooltipBox() {
  let box = document.getElementById("mm-tip");
  if (!box) {
    box = Object.assign(document.createElement("div"), { id: "mm-tip", hidden: true });
    box.setAttribute("aria-hidden", "true");
    document.body.append(box);
  }
  return box;
}

function showTooltip({ chart, tooltip }) {
  const tip = tooltipBox();
  tip.hidden = tooltip.opacity === 0 || !tooltip.dataPoints;
  if (tip.hidden) return;
  tip.replaceChildren(
    ...[...tooltip.title, ...tooltip.body.flatMap((part) => part.lines)].map((line, at) =>
      Object.assign(document.createElement(at ? "div" : "strong"), { textContent: line })
    )
  );
  const place = chart.canvas.getBoundingClientRect();
  const left = place.left + tooltip.caretX - tip.offsetWidth / 2;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(8, place.top - tip.offsetHeight - 6)}px`;
}

function dataset(name, values, style) {
  return { label: name, data: values, borderWidth: 2, pointRadius: 0, pointHitRadius: 8, clip: false, ...style };
}

function expectedRange(facts) {
  if (!facts.low) return [];
  const edge = { borderColor: "transparent", borderWidth: 0, isEdge: true };
  return [
    dataset(WORDS.expectedMaximum, facts.high, { ...edge, fill: "+1", backgroundColor: colour("--mm-range") }),
    dataset(WORDS.expectedMinimum, facts.low, edge),
  ];
}

function lines(facts) {
  const colours = [colour("--mm-first"), colour("--mm-second")];
  return facts.lines.map(({ name, values }, at) => {
    const isAnomaly = (n) =>
      at === 0 && facts.low && facts.low[n] !== null && (values[n] < facts.low[n] || values[n] > facts.high[n]);
    return dataset(name, values, {
      borderColor: colours[at % 2],
      borderDash: at ? [4, 3] : [],
      pointRadius: values.map((_, n) => (isAnomaly(n) ? 3.5 : n === values.length - 1 && !at ? 3 : 0)),
      pointBackgroundColor: values.map((_, n) => (isAnomaly(n) ? colour("--mm-bad") : colours[at % 2])),
      pointBorderWidth: 0,
    });
  });
}

function statuses(facts) {
  const colours = facts.statuses.map((status) => colour(STATUSES[status] || "--mm-bad"));
  const style = { backgroundColor: colours, borderWidth: 0, borderRadius: 1, maxBarThickness: 14, categoryPercentage: 1, barPercentage: 0.8 };
  return [{ label: WORDS.status, data: facts.statuses.map(() => 1), ...style }];
}

// No metric is negative, so an axis that starts near zero starts at zero.
function isNearZero(facts) {
  const known = knownValues(facts);
  return Math.min(...known) <= 0.2 * Math.max(...known);
}

// Times have ticks at whole seconds, minutes, hours or days.
function timeStep(facts) {
  const largest = Math.max(...knownValues(facts));
  return TIME_STEPS.find((step) => largest / step <= 4) || undefined;
}

function knownValues(facts) {
  const values = [...facts.lines.flatMap((line) => line.values), ...(facts.low || []), ...(facts.high || [])];
  return values.filter((value) => value !== null);
}

function axes(facts) {
  const muted = colour("--mm-muted");
  const ticks = { color: muted, maxTicksLimit: 5, maxRotation: 0 };
  const title = (text) => ({ display: true, text, color: muted, padding: 0, font: { size: 11 } });
  const isStatus = facts.kind === "status";
  return {
    x: {
      grid: { display: false },
      title: title(WORDS.runStart),
      ticks: { ...ticks, autoSkipPadding: 12, callback(at) { return facts.labels[at].slice(5, 10); } },
    },
    y: {
      display: !isStatus,
      min: isStatus || facts.zero || isNearZero(facts) ? 0 : undefined,
      // Of nothing but zeros, the axis would end at 150 %.
      suggestedMax: facts.unit === "share" ? 0.01 : undefined,
      // Keeps a flat line away from the chart's edge.
      grace: isStatus ? 0 : "8%",
      grid: { color: colour("--mm-line") },
      border: { display: false },
      title: title(facts.unit_title),
      ticks: {
        ...ticks,
        stepSize: facts.unit === "seconds" && facts.zero ? timeStep(facts) : undefined,
        callback: (value) => formatMeasure(value, facts.unit),
      },
    },
  };
}

function settings(facts) {
  return {
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    layout: { padding: { right: 6 } },
    interaction: { mode: "index", intersect: false },
    scales: axes(facts),
    elements: { line: { tension: 0, cubicInterpolationMode: "default" } },
    onClick: (_, points) => {
      if (points.length) location.assign(facts.urls.replace("/0/", `/${facts.runs[points[0].index]}/`));
    },
    onHover: (event, points) => { event.native.target.style.cursor = points.length ? "pointer" : "default"; },
    plugins: {
      legend: { display: false },
      tooltip: {
        enabled: false,
        external: showTooltip,
        callbacks: {
          title: (points) => `${WORDS.run} ${facts.runs[points[0].dataIndex]}, ${facts.labels[points[0].dataIndex]}`,
          label: (point) => facts.kind === "status"
            ? facts.status_names[facts.statuses[point.dataIndex]]
            : `${point.dataset.label}: ${formatMeasure(point.raw, facts.unit)}`,
        },
      },
    },
  };
}

function draw(canvas) {
  const facts = JSON.parse(document.getElementById(canvas.dataset.chart).textContent);
  const isStatus = facts.kind === "status";
  Chart.getChart(canvas)?.destroy();
  Chart.defaults.font.family = "Inter";
  new Chart(canvas, {
    type: isStatus ? "bar" : "line",
    data: { labels: facts.labels, datasets: isStatus ? statuses(facts) : [...lines(facts), ...expectedRange(facts)] },
    options: settings(facts),
  });
}

const drawAll = () => document.querySelectorAll("canvas[data-chart]").forEach(draw);
drawAll();
// Colours come from CSS variables, which change with the root's "dark" class.
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["class"] });
addEventListener("scroll", () => { tooltipBox().hidden = true; }, { capture: true, passive: true });

// Times are in TIME_ZONE; readers elsewhere also see them on their own clock.
for (const element of document.querySelectorAll("time[datetime]")) {
  const moment = new Date(element.dateTime);
  const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(moment);
  if (!element.textContent.includes(clock)) {
    const note = Object.assign(document.createElement("span"), { className: "mm-note" });
    note.textContent = ` (${WORDS.yourClock.replace("{time}", clock)})`;
    element.after(note);
  }
}
