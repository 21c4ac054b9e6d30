// The status page: shows what /api/v1/events tells, and gives orders when there is a token.

const API = "api/v1";
const STEP = 5; // seconds between two points of a graph
const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const rate = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

let token = sessionStorage.getItem("token") || "";
let before = null; // the status before this one, and when it came
let points = {};
let stream = null;

// What is shown.

function duration(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function say(text, bad = false) {
  $("news").textContent = text;
  $("news").classList.toggle("bad", bad);
}

function put(parent, selector, text) {
  const element = parent.querySelector(selector);
  if (element.textContent !== text) element.textContent = text;
  return element;
}

function showState(parent, state) {
  put(parent, ".state", state).dataset.state = state;
}

// The element of a key among its siblings, made from a template when it is new: a button keeps its
// focus while the numbers beside it change.
function elementFor(parent, key, template) {
  for (const child of parent.children) if (child.dataset.key === key) return child;
  const made = $(template).content.firstElementChild.cloneNode(true);
  made.dataset.key = key;
  parent.append(made);
  return made;
}

function keepOnly(parent, keys) {
  for (const child of [...parent.children]) if (!keys.has(child.dataset.key)) child.remove();
}

const total = (counts) => Object.values(counts).reduce((sum, each) => sum + each, 0);

function showTotals(list, component) {
  const reasons = (counts) => Object.entries(counts).map((each) => each.join(": ")).join(", ");
  const shown = [
    ["accepted", component.accepted],
    ["delivered", component.delivered],
    ["held", component.held],
    ["redelivered", component.redelivered],
    ["answered by us", total(component.answered), reasons(component.answered)],
    ["dropped", total(component.dropped), reasons(component.dropped)],
  ];
  list.replaceChildren(...shown.map(([name, number, why]) => {
    const pair = document.createElement("div");
    pair.className = name.replaceAll(" ", "-");
    pair.title = why || "";
    pair.classList.toggle("alarm", name === "dropped" && number > 0);
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = count.format(number);
    pair.append(term, value);
    return pair;
  }));
}

function line(values, most) {
  const width = 120 / Math.max(1, values.length - 1);
  return values.map((each, n) => `${(n * width).toFixed(1)},${23 - (22 * each) / most}`).join(" ");
}

function showGraph(row, jid, name) {
  const traffic = points[jid]?.[name] || [];
  const to = traffic.map((each) => each[0] / STEP);
  const from = traffic.map((each) => each[1] / STEP);
  const most = Math.max(1, ...to, ...from);
  row.querySelector(".to").setAttribute("points", line(to, most));
  row.querySelector(".from").setAttribute("points", line(from, most));
  put(row, ".graph title", `to it and (dashed) from it, at most ${rate.format(most)}/s`);
}

function perSecond(now, then, seconds) {
  return then === undefined || !seconds ? "" : rate.format(Math.max(0, now - then) / seconds);
}

function showBackend(row, jid, backend, then, seconds, shares) {
  put(row, ".name", backend.name);
  put(row, ".address", backend.address);
  showState(row, backend.state);
  put(row, ".since", duration(backend.since));
  put(row, ".weight", String(backend.weight));
  put(row, ".share", shares ? `${Math.round((100 * backend.share) / shares)} %` : "");
  put(row, ".in", perSecond(backend.sent, then?.sent, seconds));
  put(row, ".out", perSecond(backend.received, then?.received, seconds));
  put(row, ".flight", count.format(backend.in_flight));
  put(row, ".window", `${count.format(backend.unacknowledged)} of ${count.format(backend.window)}`);
  const meter = row.querySelector("meter");
  meter.max = backend.window;
  meter.high = backend.window * 0.75;
  meter.value = backend.unacknowledged;
  meter.ariaLabel = `unacknowledged at ${backend.name}`;
  const trip = backend.round_trip;
  put(row, ".ping", trip === null ? "" : `${rate.format(trip * 1000)} ms`);
  put(row, ".error", backend.last_error);
  for (const button of row.querySelectorAll("button")) {
    button.ariaLabel = `${button.textContent} ${backend.name}`;
    button.onclick = () => order(jid, backend.name, button.dataset.order);
  }
  showGraph(row, jid, backend.name);
}

function showComponent(component, then, seconds) {
  const section = elementFor($("components"), component.jid, "component");
  put(section, ".jid", component.jid);
  showState(section, component.state);
  const why = component.reason ? ` (${component.reason})` : "";
  put(section, ".server", `server ${component.server}, ${component.state} for ` +
    `${duration(component.since)}${why} · ${component.strategy} by ${component.affinity}`);
  showTotals(section.querySelector(".totals"), component);
  const rows = section.querySelector("tbody");
  const works = (each) => ["up", "starting", "degraded"].includes(each.state);
  const shares = component.backends.filter(works).reduce((sum, each) => sum + each.share, 0);
  for (const backend of component.backends) {
    const last = then?.backends.find((each) => each.name === backend.name);
    const row = elementFor(rows, backend.name, "backend");
    showBackend(row, component.jid, backend, last, seconds, works(backend) ? shares : 0);
  }
  keepOnly(rows, new Set(component.backends.map((each) => each.name)));
  section.querySelector(".nobody").hidden = component.backends.length > 0;
}

function showStatus(status) {
  const seconds = before ? status.uptime - before.uptime : 0;
  put(document, "#version", status.version);
  put(document, "#about", `up for ${duration(status.uptime)}${status.draining ? ", stopping" : ""}`);
  for (const component of status.components) {
    const then = before?.components.find((each) => each.jid === component.jid);
    showComponent(component, then, seconds);
  }
  keepOnly($("components"), new Set(status.components.map((each) => each.jid)));
  before = status;
}

// What is heard.

// EventSource cannot send a token, so the stream is read by hand: "event:" and "data:" lines.
async function listen(signal) {
  const answer = await fetch(`${API}/events`, { headers: authorized(), signal });
  if (!answer.ok) throw new Error((await answer.json()).detail || answer.statusText);
  say("Live");
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) hear(block);
  }
}

function hear(block) {
  const fields = {};
  for (const each of block.split("\n")) {
    const [name, ...rest] = each.split(": ");
    fields[name] = rest.join(": ");
  }
  if (!fields.data) return; // a comment: it keeps the connection alive
  const data = JSON.parse(fields.data);
  if (fields.event === "status") showStatus(data);
  else if (fields.event === "recent") points = data;
}

async function listenForEver() {
  for (;;) {
    stream = new AbortController();
    try {
      await listen(stream.signal);
      say("The balancer has closed the connection; trying again…", true);
    } catch (error) {
      if (error.name !== "AbortError") say(`No answer: ${error.message}; trying again…`, true);
    }
    before = null;
    if (!stream.signal.aborted) await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

// What is ordered.

const authorized = () => (token ? { Authorization: `Bearer ${token}` } : {});

async function order(jid, name, what) {
  const path = `${API}/components/${encodeURIComponent(jid)}/backends/${encodeURIComponent(name)}`;
  try {
    const answer = await fetch(`${path}/${what}`, { method: "POST", headers: authorized() });
    const said = await answer.json();
    if (answer.ok) say(`${said.backend} is in state ${said.state}`);
    else say(`Refused: ${said.detail}`, true);
  } catch (error) {
    say(`No answer: ${error.message}`, true);
  }
}

function use(given) {
  token = given;
  if (token) sessionStorage.setItem("token", token);
  else sessionStorage.removeItem("token");
  document.body.classList.toggle("may", Boolean(token));
  $("forget").hidden = !token;
  $("token").value = "";
  $("token").placeholder = token ? "in use" : "to change anything";
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  use($("token").value.trim());
  stream?.abort(); // listen again, with it
});
$("forget").addEventListener("click", () => use(""));

use(token);
listenForEver();
