// The little that the page does by itself: theme, search key, clocks that stay true, charts, and renewing what changed.
"use strict";

const PULSE_MS = 2500;
const SIGNALS_MS = 4000;

// Theme

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function nameTheme() {
  for (const label of document.querySelectorAll("[data-theme-name]")) label.textContent = isDark() ? "Dark" : "Light";
}

function changeTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("theme", next);
  } catch (error) {
    // It holds for this page alone.
  }
  nameTheme();
  redrawAll();
}

// Clocks

function since(seconds) {
  if (seconds < 5) return "just now";
  for (const [limit, unit, name] of [[45, 1, "s"], [2700, 60, "min"], [79200, 3600, "h"], [2160000, 86400, "d"]])
    if (seconds < limit) return `${Math.max(1, Math.round(seconds / unit))} ${name} ago`;
  return null;
}

function renewClocks() {
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const text = since((Date.now() - Date.parse(each.dateTime)) / 1000);
    if (text && each.textContent !== text) each.textContent = text;
  }
}

// Charts

const plots = new Map();
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function tone(name) {
  const probe = document.createElement("i");
  probe.className = `ink-${name}`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

function faded(colour, share) {
  return colour.startsWith("rgb(") ? colour.replace("rgb(", "rgba(").replace(")", `, ${share})`) : colour;
}

function figure(value) {
  if (value == null) return "";
  const size = Math.abs(value);
  return size >= 100 ? Math.round(value).toLocaleString("en") : !size ? "0" : size >= 10 ? value.toFixed(1) : size >= 0.01 ? value.toFixed(size >= 1 ? 2 : 3) : value.toPrecision(2);
}

// Marks the moments of a chart with a line each; what they mean is told when the cursor comes near.
function flagsPlugin(flags, text) {
  return {
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.lineWidth = devicePixelRatio;
        for (const flag of flags) {
          const x = Math.round(plot.valToPos(flag.x, "x", true));
          if (x < bbox.left || x > bbox.left + bbox.width) continue;
          ctx.strokeStyle = ctx.fillStyle = tone(flag.tone);
          ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
          ctx.beginPath();
          ctx.arc(x, bbox.top, 3 * devicePixelRatio, 0, 7);
          ctx.fill();
        }
        ctx.restore();
      },
      setCursor: (plot) => {
        const near = flags.find((flag) => Math.abs(plot.valToPos(flag.x, "x") - plot.cursor.left) < 8);
        text.textContent = near ? near.label : "";
        text.hidden = !near;
      },
    },
  };
}

function options(chart, box, note) {
  const quiet = tone("quiet"), grid = tone("grid");
  const axis = { stroke: quiet, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: `11px ${getComputedStyle(document.body).fontFamily}` };
  const legend = box.closest("figure").querySelectorAll("[data-value]");
  const isLong = chart.x.length > 1 && chart.x.at(-1) - chart.x[0] > 172800;
  return {
    width: box.clientWidth,
    height: box.clientHeight,
    legend: { show: false },
    cursor: { points: { size: 6 }, y: false, drag: { x: true, y: false } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    scales: { x: { time: chart.is_time }, y: { range: (plot, low, high) => reach(chart, low, high) } },
    axes: [
      { ...axis, grid: { show: false }, gap: 4, size: 26, space: 70, ...(chart.is_time && isLong ? { values: (plot, ticks) => ticks.map(dayName) } : chart.is_time ? { values: (plot, ticks) => ticks.map(timeName) } : {}) },
      { ...axis, size: 44, gap: 4, space: 26, values: (plot, ticks) => ticks.map((tick) => (tick >= 1000 ? `${tick / 1000}k` : `${+tick.toFixed(3)}`)) },
    ],
    series: [
      {},
      ...chart.lines.map((line, index) => ({
        label: line.label, stroke: tone(line.tone), width: line.is_dashed ? 2 : 1.6, dash: line.is_dashed ? [5, 4] : undefined,
        fill: chart.lines.length === 1 && chart.starts_at_zero ? faded(tone(line.tone), 0.1) : undefined,
        // A line of one value has no length.
        points: { show: (line.is_dashed && !chart.joins_gaps) || line.values.filter((value) => value != null).length === 1, size: 5 }, spanGaps: chart.joins_gaps,
      })),
    ],
    hooks: {
      setLegend: [(plot) => {
        const at = plot.cursor.idx;
        chart.lines.forEach((line, index) => {
          const values = plot.data[index + 1];
          legend[index].textContent = figure(at != null ? values[at] : values.findLast((value) => value != null));
        });
      }],
    },
    plugins: [flagsPlugin(chart.flags, note)],
  };
}

function reach(chart, low, high) {
  if (low == null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.1;
  return chart.starts_at_zero ? [0, high > 0 ? high * 1.12 : 1] : [low - room, high + room];
}

function dayName(seconds) {
  const date = new Date(seconds * 1000);
  return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
}

function timeName(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
}

function draw(box, chart) {
  plots.get(box)?.plot.destroy();
  box.replaceChildren();
  if (!chart.x.length || typeof uPlot === "undefined") return;
  const note = document.createElement("p");
  note.className = "plot-note";
  note.hidden = true;
  const plot = new uPlot(options(chart, box, note), [chart.x, ...chart.lines.map((line) => line.values)], box);
  box.append(note);
  plots.set(box, { plot, chart });
  plot.setLegend({ idx: null });
}

function redrawAll() {
  for (const [box, { chart }] of plots) draw(box, chart);
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const known = plots.get(target);
    if (known && target.clientWidth !== known.plot.width) known.plot.setSize({ width: target.clientWidth, height: target.clientHeight });
  }
});

function drawAll() {
  for (const box of document.querySelectorAll("[data-chart]")) {
    if (plots.has(box)) continue;
    draw(box, JSON.parse(box.dataset.chart));
    resized.observe(box);
  }
}

// Gives the charts of a region newer points where it has the same charts with the same lines; returns whether it has.
function renewCharts(region, newer) {
  const boxes = [...region.querySelectorAll("[data-chart]")], others = [...newer.querySelectorAll("[data-chart]")];
  const lines = (chart) => chart.lines.map((line) => line.label).join("\n");
  const charts = others.map((other) => JSON.parse(other.dataset.chart));
  if (boxes.length !== others.length || boxes.some((box, at) => !plots.has(box) || lines(plots.get(box).chart) !== lines(charts[at]))) return false;
  boxes.forEach((box, at) => {
    const known = plots.get(box);
    if (box.dataset.chart === others[at].dataset.chart || known.plot.cursor.left >= 0) return;
    box.dataset.chart = others[at].dataset.chart;
    known.chart = charts[at];
    known.plot.setData([charts[at].x, ...charts[at].lines.map((line) => line.values)]);
    known.plot.setLegend({ idx: null });
  });
  return true;
}

async function renewSignals(section) {
  const { charts } = await asked(section.dataset.signals);
  for (const [box, known] of plots) {
    const chart = charts[box.dataset.id];
    // While somebody has zoomed in or reads a value, the chart keeps still.
    if (!chart || known.plot.cursor.left >= 0) continue;
    known.chart = chart;
    known.plot.setData([chart.x, ...chart.lines.map((line) => line.values)]);
  }
}

// Hints of cells

function hint() {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  document.addEventListener("pointerover", (event) => {
    const text = event.target.dataset?.tip;
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const place = event.target.getBoundingClientRect();
    tip.style.left = `${Math.min(Math.max(place.left + place.width / 2, 90), innerWidth - 90)}px`;
    tip.style.top = `${place.top - 8}px`;
  });
}

// Renewing

async function asked(address) {
  const answer = await fetch(address, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${address} answered ${answer.status}`);
  return answer.json();
}

function showLink(isUp) {
  for (const each of document.querySelectorAll("[data-link-state]")) {
    each.classList.toggle("is-lost", !isUp);
    each.querySelector("span").textContent = isUp ? "live" : "not connected";
  }
}

// Puts the parts of a newer copy of this page in place of those that differ; the others are left alone.
async function renewPage() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const newer = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const region of document.querySelectorAll("[data-live]")) {
    const other = newer.getElementById(region.id);
    if (other?.querySelector("[data-chart]") && renewCharts(region, other)) continue;
    if (!other || plain(other) === plain(region) || (region.contains(document.activeElement) && !document.activeElement.matches(".tick"))) continue;
    const ticked = new Set([...region.querySelectorAll(".tick:checked")].map((tick) => tick.value));
    for (const box of region.querySelectorAll("[data-chart]")) {
      plots.get(box)?.plot.destroy();
      plots.delete(box);
    }
    const unfolded = [...region.querySelectorAll("details[open]")].map((each) => each.id);
    region.className = other.className;
    region.replaceChildren(...other.childNodes);
    for (const tick of region.querySelectorAll(".tick")) tick.checked = ticked.has(tick.value);
    for (const each of region.querySelectorAll("details")) each.open = unfolded.includes(each.id);
  }
  drawAll();
  countTicks();
  renewClocks();
}

// How many runs are ticked to be compared.
function countTicks() {
  const form = document.querySelector("[data-compare]");
  if (!form) return;
  const ticked = document.querySelectorAll(".tick:checked").length;
  form.hidden = !ticked;
  form.querySelector("[data-ticked]").textContent = ticked;
  form.querySelector("button").disabled = ticked < 2;
}

// What a region says, without the words that only tell how long ago something was.
function plain(region) {
  const copy = region.cloneNode(true);
  for (const each of copy.querySelectorAll("time[data-ago]")) each.textContent = "";
  for (const each of copy.querySelectorAll("details")) each.removeAttribute("open");
  return copy.className + copy.innerHTML;
}

let pulse = null;

async function beat() {
  if (document.hidden) return;
  try {
    const now = JSON.stringify(await asked("/api/pulse"));
    showLink(true);
    if (pulse !== null && now !== pulse) await renewPage();
    pulse = now;
  } catch (error) {
    showLink(false);
  }
}

function start() {
  nameTheme();
  // On a narrow window the navigation scrolls: the page that is open is in sight.
  document.querySelector(".side nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  document.querySelector("[data-theme-toggle]")?.addEventListener("click", changeTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { nameTheme(); redrawAll(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /INPUT|TEXTAREA/.test(event.target.tagName)) return;
    event.preventDefault();
    document.querySelector("#find")?.focus();
  });
  // A row of the table of parts and its node in the graph light up together.
  for (const kind of ["pointerover", "pointerout"])
    document.addEventListener(kind, (event) => {
      const name = event.target.closest?.("[data-part]")?.dataset.part;
      if (name === undefined) return;
      for (const each of document.querySelectorAll("[data-part], [data-from]"))
        each.classList.toggle("is-near", kind === "pointerover" && [each.dataset.part, each.dataset.from, each.dataset.to].includes(name));
    });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".tick")) countTicks();
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });
  drawAll();
  countTicks();
  hint();
  renewClocks();
  setInterval(renewClocks, 10000);
  beat();
  setInterval(beat, PULSE_MS);
  const signals = document.querySelector("[data-signals]");
  if (signals) setInterval(() => { if (!document.hidden) renewSignals(signals).catch(() => showLink(false)); }, SIGNALS_MS);
}

document.addEventListener("DOMContentLoaded", start);
