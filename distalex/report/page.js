"use strict";
// Shows the values of curves: a vertical line at the step under the pointer, or chosen with the arrow keys, and its values below.
const numbers = JSON.parse(document.getElementById("numbers").textContent);

for (const [name, panel] of Object.entries(numbers)) {
  const figure = document.getElementById(name);
  const drawing = figure.querySelector("svg");
  const cross = figure.querySelector(".cross");
  const reads = figure.querySelector(".reads");
  const steps = [...new Set(panel.curves.flatMap((curve) => curve.points.map((point) => point[0])))].sort((a, b) => a - b);
  const width = drawing.viewBox.baseVal.width;
  const [left, right] = panel.across;
  const [low, high] = panel.steps;
  let place = -1;

  const nearest = (points, step) => points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));

  const show = (at) => {
    place = Math.max(0, Math.min(steps.length - 1, at));
    const step = steps[place];
    const x = width * (left + ((step - low) / (high - low)) * (right - left));
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    const values = panel.curves.map((curve) => {
      const [found, value] = nearest(curve.points, step);
      return `${curve.label} ${value.toLocaleString("en", { maximumSignificantDigits: 5 })}${found === step ? "" : ` (step ${found.toLocaleString("en")})`}`;
    });
    reads.textContent = `step ${step.toLocaleString("en")}: ${values.join(", ")}${panel.unit ? ` (${panel.unit})` : ""}`;
  };

  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const step = low + (((event.clientX - box.left) / box.width - left) / (right - left)) * (high - low);
    show(steps.indexOf(steps.reduce((best, one) => (Math.abs(one - step) < Math.abs(best - step) ? one : best))));
  });
  figure.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: steps.length - 1 };
    if (event.key in moves) {
      event.preventDefault();
      show(moves[event.key]);
    }
  });
}
