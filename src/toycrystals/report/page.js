"use strict";
const options = { renderer: "svg", actions: false };
const charts = [...document.querySelectorAll(".vega")].map((place) => {
  const spec = JSON.parse(place.querySelector("script").textContent);
  return vegaEmbed(place, spec, options).catch((error) => {
    place.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  });
});
Promise.all(charts).then(() => {
  document.documentElement.dataset.charts = "done";
});
