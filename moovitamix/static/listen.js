// Shows the value of the discovery slider while it moves.
const slider = document.querySelector("input[name=discovery]");
slider.addEventListener("input", () => {
  document.getElementById("discovery-value").value = Number(slider.value).toFixed(2);
});
