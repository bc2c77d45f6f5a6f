// The live page: asks for new rows once a second and draws them. It only ever sets text, never
// markup. Times are the viewer's: a board's clock may be wrong, its seconds are not.
"use strict";

const KEPT = 600;
const PERIOD_MS = 1000;
const PATIENCE_MS = 8000;
const COLOURS = ["a", "b", "c", "d"];

const $ = (id) => document.getElementById(id);
const state = { start: "", next: 0, columns: [], rows: [], events: [], at: 0 };
let charts = [];

const percent = (v) => `${(100 * v).toFixed(1)} %`;
const whole = (v) => (v >= 9999.5 ? `${(v / 1000).toFixed(1)} k` : v >= 10 || v === 0 ? v.toFixed(0) : v.toFixed(1));
const tick = (v) => (v >= 10000 ? `${+(v / 1000).toPrecision(3)} k` : String(+v.toPrecision(3)));
const millis = (v) => (v >= 0.25 ? "≥ 250 ms" : `${(1000 * v).toFixed(v < 0.01 ? 2 : 1)} ms`);
const bytes = (v) => (v < 1024 ? `${v} B` : v < 1048576 ? `${(v / 1024).toFixed(0)} KiB` : `${(v / 1048576).toFixed(1)} MiB`);
const watts = (v) => `${v.toFixed(2)} W`;
const FORMATS = {
  serving: percent, golden: percent, journal_ratio: percent, ingest_per_s: whole, train_per_s: whole,
  infer_per_s: whole, infer_p50_s: millis, infer_p99_s: millis, lag_samples: whole, queue_bytes: bytes,
};

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function column(name) {
  const at = state.columns.indexOf(name);
  return at < 0 ? [] : state.rows.map((row) => row[at]);
}

function clock(uptime_s) {
  const last = state.rows.length ? state.rows[state.rows.length - 1][0] : uptime_s;
  return new Date(state.at - 1000 * (last - uptime_s)).toLocaleTimeString([], { hourCycle: "h23" });
}

// charts

// A value between two unknown ones has no line: it gets a dot.
function alone(chart, index) {
  const values = chart.data[index];
  return values.flatMap((v, i) => (v != null && values[i - 1] == null && values[i + 1] == null ? [i] : []));
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function marks(chart) {
  const { ctx, bbox } = chart;
  for (const event of state.events) {
    if (event.topic !== "swapped" && event.topic !== "rolled_back") continue;
    const x = chart.valToPos(event.uptime_s, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.save();
    ctx.strokeStyle = colour(event.topic === "swapped" ? "served" : "bad");
    ctx.globalAlpha = 0.45;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }
}

function draw(id, names, format, { range, marked, colours } = {}) {
  const host = $(id);
  const axis = { stroke: colour("soft"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const series = names.map((name, i) => {
    const key = (colours || COLOURS)[i % 4];
    return { stroke: colour(key), width: key === "served" ? 2.5 : 1.75, dash: key === "frozen" ? [5, 4] : undefined, points: { show: true, size: 5, fill: colour(key), filter: alone } };
  });
  const chart = new uPlot({
    width: Math.max(host.clientWidth, 120), height: host.clientHeight,
    legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
    scales: { x: { time: false, range: (_, low, high) => [Math.min(low, high - 60), high] }, y: { range: range || ((_, low, high) => [0, high > 0 ? high * 1.15 : 1]) } },
    axes: [
      { ...axis, size: 26, space: 90, values: (_, splits) => splits.map(clock) },
      { ...axis, size: 52, space: 28, values: (_, splits) => splits.map(format) },
    ],
    series: [{}, ...series],
    hooks: { setCursor: [() => readouts(chart)], draw: marked ? [marks] : [] },
  }, [[], ...names.map(() => [])], host);
  charts.push({ chart, names, host });
}

function rails() {
  return state.columns.filter((name) => name.startsWith("watts ")).slice(0, 4);
}

function build() {
  for (const { chart } of charts) chart.destroy();
  charts = [];
  draw("accuracy", ["serving", "golden"], (v) => `${Math.round(100 * v)} %`, { range: () => [0, 1], marked: true, colours: ["served", "frozen"] });
  draw("rates", ["ingest_per_s", "train_per_s"], tick);
  draw("latency", ["infer_p50_s", "infer_p99_s"], (v) => `${+(1000 * v).toPrecision(3)} ms`);
  draw("queue", ["lag_samples"], tick);
  $("power").hidden = !rails().length;
  $("no-power").hidden = rails().length > 0;
  $("watts").replaceChildren(...rails().map((rail, i) => {
    const group = element("div");
    const term = element("dt", rail.slice(6));
    term.prepend(element("i", undefined, `key ${COLOURS[i]}`));
    const value = element("dd", "–");
    value.dataset.read = rail;
    group.append(term, value);
    return group;
  }));
  if (rails().length) draw("power", rails(), (v) => `${+v.toPrecision(3)} W`);
}

function value(name, at) {
  const values = column(name);
  const found = values[at === undefined || at === null ? values.length - 1 : at];
  return found === undefined ? null : found;
}

// What the pointer is on, else the latest.
function readouts(only) {
  const hovered = charts.find(({ chart }) => chart === only);
  const at = hovered && hovered.chart.cursor.idx;
  for (const node of document.querySelectorAll("[data-read]")) {
    const name = node.dataset.read;
    if (hovered && !hovered.names.includes(name)) continue;
    const found = value(name, at);
    setText(node, found === null ? "–" : (FORMATS[name] || watts)(found));
  }
  if (!hovered || hovered.names.includes("golden")) {
    const served = value("serving", at), frozen = value("golden", at);
    const gain = served === null || frozen === null ? null : 100 * (served - frozen);
    setText($("gain"), gain === null ? "–" : `${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(1)} points`);
    $("gain").parentNode.classList.toggle("negative", gain !== null && gain < 0);
  }
}

function describe() {
  for (const { names, host } of charts) {
    const parts = names.map((name) => {
      const found = value(name);
      const shown = name.replace("serving", "served").replace("golden", "frozen").replaceAll("_", " ");
      return `${shown} ${found === null ? "unknown" : (FORMATS[name] || watts)(found)}`;
    });
    host.setAttribute("aria-label", `Chart of the last minutes; now ${parts.join(", ")}`);
  }
}

// words

function pairs(host, entries) {
  const shown = entries.flatMap(([name, text]) => [element("dt", name), element("dd", text)]);
  if ([...host.children].map((c) => c.textContent).join("\n") !== shown.map((c) => c.textContent).join("\n"))
    host.replaceChildren(...shown);
}

function lasted(seconds) {
  const h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60;
  return h >= 48 ? `${Math.floor(h / 24)} days ${h % 24} h` : h ? `${h} h ${m} min` : m ? `${m} min` : `${seconds} s`;
}

function words(now) {
  const conditions = now.conditions;
  if (!conditions) return; // its first second
  const wrong = [];
  if (conditions.engine_up === false) wrong.push("no engine");
  if (conditions.journal_writable === false) wrong.push("journal takes no samples");
  const fine = value("paused") ? "serving, training paused" : "serving and learning";
  setText($("state"), wrong.join(", ") || fine);
  $("state").className = `pill ${wrong.length ? "bad" : value("paused") ? "" : "good"}`;
  setText($("network"), now.network || "");
  const weights = now.weights || {};
  setText($("serving"), `weights version ${weights.version} (${String(weights.hash || "?").slice(0, 8)}), up ${lasted(now.uptime_s || 0)}`);
  const known = (name) => { const v = value(name); return v === null ? "unknown" : String(v); };
  pairs($("about"), [
    ["eftraind", `${now.version}, Python ${now.python}`], ["network", now.network || ""],
    ["weights", `version ${weights.version}`], ["swaps", known("swaps")], ["rollbacks", known("rollbacks")],
    ["clients", String(now.clients)], ["producers", (now.producers || []).join(", ") || "none"],
    ...(now.power_budget_watts ? [["power budget", watts(now.power_budget_watts)]] : []),
  ]);
  document.title = `${wrong.length ? "⚠ " : ""}eftraind ${now.network || ""}`;
}

function happenings() {
  $("no-events").hidden = state.events.length > 0;
  $("events").hidden = !state.events.length;
  $("events").replaceChildren(...state.events.slice(-50).reverse().map((event) => {
    const item = element("li", undefined, ["swapped", "rolled_back", "alarm"].includes(event.topic) ? event.topic : "");
    item.append(element("time", clock(event.uptime_s)), element("b", event.topic.replaceAll("_", " ")), element("span", event.text));
    return item;
  }));
}

// the loop

function take(answer) {
  if (answer.start !== state.start || answer.columns.length !== state.columns.length) {
    Object.assign(state, { start: answer.start, columns: answer.columns, rows: [], events: [] });
    build();
  }
  state.at = Date.now();
  state.next = answer.next;
  state.rows = state.rows.concat(answer.rows).slice(-KEPT);
  state.events = state.events.concat(answer.events).slice(-50);
  for (const { chart, names } of charts) chart.setData([column("uptime_s"), ...names.map(column)]);
  if (!charts.some(({ chart }) => chart.cursor.idx != null)) readouts();
  describe();
  words(answer.now);
  if (answer.events.length || !state.events.length) happenings();
}

async function ask() {
  const response = await fetch(`live.json?since=${state.next}`, { signal: AbortSignal.timeout(5000), cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const answer = await response.json();
  if (answer.start !== state.start && state.next) {
    state.next = 0; // the daemon is another: all of it
    return ask();
  }
  take(answer);
}

async function turn() {
  try {
    if (!document.hidden) await ask();
  } catch {
    // Said below when it lasts: one lost answer is no news.
  }
  const silent_ms = Date.now() - state.at;
  const lost = !document.hidden && silent_ms > PATIENCE_MS && performance.now() > PATIENCE_MS;
  document.body.classList.toggle("stale", lost);
  $("banner").hidden = !lost;
  if (lost) {
    setText($("banner"), state.at ? `No answer from the daemon since ${new Date(state.at).toLocaleTimeString([], { hourCycle: "h23" })}; trying again.` : "No answer from the daemon; trying again.");
    setText($("state"), "no answer");
    $("state").className = "pill bad";
  }
  setTimeout(turn, PERIOD_MS);
}

addEventListener("resize", () => {
  for (const { chart, host } of charts) chart.setSize({ width: Math.max(host.clientWidth, 120), height: host.clientHeight });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  build();
  for (const { chart, names } of charts) chart.setData([column("uptime_s"), ...names.map(column)]);
  readouts();
});
turn();
