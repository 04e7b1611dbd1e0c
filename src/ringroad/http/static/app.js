// The console's behaviour: live refresh, forms that call the management API, charts, copy, theme.
// Everything that is shown was rendered by the server; this file decides nothing.
"use strict";

const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Live refresh: facts mark the page stale; it is read again at most once a second, in place.
const REFRESH_MS = 1000;
const SAFETY_NET_MS = 15000; // progress that makes no fact, and streams that were lost
let refreshAt = 0,
  refreshTimer = null;

function refreshSoon() {
  if (refreshTimer || !document.getElementById("live")) return;
  const wait = Math.max(0, refreshAt + REFRESH_MS - Date.now());
  refreshTimer = setTimeout(() => {
    refreshTimer = null;
    refreshAt = Date.now();
    htmx.trigger("#live", "refresh");
  }, wait);
}

function followEvents() {
  const lamp = document.querySelector(".live");
  if (!lamp) return;
  const say = (state, text) => {
    lamp.dataset.state = state;
    lamp.textContent = text;
  };
  const source = new EventSource("/api/v1/events");
  source.addEventListener("hello", () => {
    say("live", "Live");
  });
  source.addEventListener("resync", () => {
    say("live", "Live");
    refreshSoon();
  });
  source.addEventListener("fact", (event) => {
    pulse(event.data);
    refreshSoon();
  });
  source.onerror = () => say("lost", "Reconnecting…");
  addEventListener("pagehide", () => source.close());
  setInterval(() => {
    if (!document.hidden) refreshSoon();
  }, SAFETY_NET_MS);
}

const STAGE_OF = {
  signal: "signal",
  finding: "signal",
  change: "design",
  programme: "build",
  package: "build",
  artifact_key: "build",
  release: "build",
  baseline: "build",
  order: "build",
  schedule: "build",
  campaign: "ship",
  vehicle: "ship",
  vehicles: "ship",
  outcome: "adapt",
};
function pulse(text) {
  const stop = document.querySelector(`.stop.st-${STAGE_OF[text.split(".")[0]]}`);
  if (!stop) return;
  stop.classList.remove("pulse");
  void stop.offsetWidth;
  stop.classList.add("pulse");
}

// What a person opened or drew stays as it is when the page is read again.
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
  !(name === "open" || (name === "class" && node.matches(".stop")));
Idiomorph.defaults.callbacks.beforeNodeMorphed = (before, after) => {
  if (before instanceof Element && before.matches(".loaded")) return before.id !== after.id;
  if (before instanceof Element && before.matches("select[data-keep]")) return false;
  if (before instanceof Element && before.matches("input[data-keep]")) return before.id !== after.id;
  if (!(before instanceof Element) || !before.matches(".chart")) return true;
  if (before.dataset.chart !== after.dataset.chart) {
    before.dataset.chart = after.dataset.chart;
    draw(before);
  }
  return false;
};
Idiomorph.defaults.ignoreActiveValue = true;

// How the text of a field becomes a value, by its data-type.
const numberOf = (text, what) => {
  const number = Number(text);
  if (text.trim() === "" || !Number.isFinite(number)) throw new RangeError(`“${text}” is no ${what}`);
  return number;
};
const sizeOf = (text) =>
  text.trim().endsWith("%")
    ? { permille: Math.round(numberOf(text.replace("%", ""), "share, such as 2%") * 10) }
    : { vehicles: numberOf(text, "size, such as 500 or 2%") };
const waveOf = (text) => {
  const [size, at] = text.split("@");
  if (at === undefined) return sizeOf(size);
  const moment = new Date(at.trim());
  if (Number.isNaN(moment.getTime()) || !/(Z|[+-]\d\d:?\d\d)$/i.test(at.trim()))
    throw new RangeError(`“${at}” is no time with its time zone, such as 2027-01-11T08:00Z`);
  return { ...sizeOf(size), not_before: moment.toISOString() };
};
const partsOf = (text, by) =>
  text
    .split(by)
    .map((part) => part.trim())
    .filter(Boolean);
const metricOf = (word) => {
  const form = /^([a-z_]+)(?:=([\d.]+))?(?:\*(\d+))?(?:@([^>]+))?(?:>=([-\d.]+))?$/;
  const [, name, margin, weight, path, least] = form.exec(word) || [];
  if (!name) throw new RangeError(`“${word}” is no metric, such as fault=1.25`);
  return {
    name,
    ...(margin && { margin_milli: Math.round(numberOf(margin, "margin") * 1000) }),
    ...(weight && { weight: numberOf(weight, "weight") }),
    ...(path && { path }),
    ...(least && { at_least_milli: Math.round(numberOf(least, "value") * 1000) }),
  };
};
const READ = {
  int: (text) => numberOf(text, "number"),
  json: (text) => JSON.parse(text),
  words: (text) => partsOf(text, /[\s,]+/),
  spans: (text) => partsOf(text, ","),
  instant: (text) => new Date(text).toISOString(), // a day and time by the clock of this browser
  minutes: (text) => Math.round(numberOf(text, "number of minutes") * 60),
  hours: (text) => Math.round(numberOf(text, "number of hours") * 3600),
  permille: (text) => Math.round(numberOf(text, "percentage") * 10),
  ppm: (text) => Math.round(numberOf(text, "percentage") * 10000),
  size: sizeOf,
  sizes: (text) => partsOf(text, ",").map(waveOf),
  metrics: (text) => partsOf(text, /[\s,]+/).map(metricOf),
  harm: (text) => {
    const [first, last = first] = text.split("-");
    const [harmed_first, harmed_last] = [first, last].map((each) => numberOf(each, "budget, such as 35-400"));
    return { harmed_first, harmed_last };
  },
};

function put(body, name, value) {
  const path = name.split(".");
  const last = path.pop();
  let at = body;
  for (const part of path) at = at[part] ||= {};
  at[last] = value;
}

// Return what a form says, as the document that the management API takes. A name with dots is a field of a field;
// data-with names the fields without which this one is left out.
function read(form, submitter) {
  const body = {};
  const filled = (name) => Boolean(form.querySelector(`[name="${name}"]`)?.value);
  for (const [name, value] of new FormData(form, submitter)) {
    // a button may say what was seen
    const control = submitter?.name === name ? submitter : form.querySelector(`[name="${name}"]`);
    if (value === "" && control.dataset.optional !== undefined) continue;
    if (control.dataset.with && !control.dataset.with.split(" ").some(filled)) continue;
    const kind = control.dataset.type;
    if (kind === "aside" || kind === "path") continue; // a part of other fields, or of the address
    if (kind === "list") (body[name] ||= []).push(value);
    else if (kind === "vehicles") {
      // one VIN per word, all of one variant and region
      const { variant, region } = form.elements;
      const vins = partsOf(value, /[\s,;]+/);
      body[name] = vins.map((vin) => ({ vin, variant: variant.value, region: region.value }));
    } else if (kind === "named") {
      // "everyone", or "tag cab": what vehicles are named by
      const [by, called] = partsOf(value, " ");
      put(body, by, called ?? true);
    } else put(body, name, READ[kind] ? readOf(control, READ[kind], value) : value);
  }
  for (const set of form.querySelectorAll("fieldset[data-list]")) {
    if (set.dataset.with && !filled(set.dataset.with)) continue;
    const chosen = $$("input:checked", set).map((box) => box.value);
    if (set.dataset.with && !chosen.length) throw new RangeError(blame(set, "choose at least one"));
    put(body, set.dataset.list, chosen);
  }
  return body;
}

// An error names its field by the label, marks it, and opens what it is folded into.
const labelOf = (control) =>
  (control.closest("label") || control.querySelector("legend") || control).firstChild?.textContent.trim() || "";
function readOf(control, how, value) {
  try {
    return how(value);
  } catch (error) {
    const text = error instanceof SyntaxError ? "this is not valid JSON" : error.message;
    throw new RangeError(blame(control, text));
  }
}
function blame(control, text) {
  control.setAttribute("aria-invalid", "true");
  const fold = control.closest("details");
  if (fold) fold.open = true;
  control.focus?.();
  const label = labelOf(control);
  return label ? `${label}: ${text}` : text;
}
// The server names a field by the last part of its name, such as tick_s.
function blamed(form, text) {
  const named = [...form.querySelectorAll("[name*='_'], fieldset[data-list]")];
  const nameOf = (control) => (control.dataset.list || control.name).split(".").pop();
  return named.find((control) => new RegExp(`\\b${nameOf(control)}\\b`).test(text));
}
// The browser complains of a number itself; it cannot show that in a closed fold.
document.addEventListener(
  "invalid",
  (event) => {
    const fold = event.target.closest("details");
    if (fold) fold.open = true;
  },
  true,
);

// A field of the type path stands in the form's address, in braces.
function addressOf(pattern, form) {
  return pattern.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(form.elements[name].value));
}

// Forms with data-api send JSON to the management API and show its error and hint beside the button.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-api]")) return;
  event.preventDefault();
  const ask = event.submitter?.dataset.confirm;
  if (ask && !confirm(ask)) return;
  const alert = form.querySelector("[role=alert]");
  for (const one of $$("[aria-invalid]", form)) one.removeAttribute("aria-invalid");
  let body;
  try {
    body = read(form, event.submitter);
  } catch (error) {
    const text = error instanceof SyntaxError ? "This is not valid JSON" : error.message;
    if (alert) alert.textContent = text;
    else toast(text);
    return;
  }
  const button = event.submitter;
  const method = button?.dataset.method || form.dataset.method || "POST";
  if (button) button.disabled = true;
  if (alert) alert.textContent = "";
  try {
    const where = event.submitter?.getAttribute("formaction") || form.getAttribute("action");
    const answer = await fetch(addressOf(where, form), {
      method,
      headers: { "Content-Type": "application/json", "X-Ringroad": "console" },
      body: method === "GET" ? undefined : JSON.stringify(body),
    });
    const data = await answer.json().catch(() => ({}));
    if (answer.status === 401) {
      location.href = "/login";
      return;
    }
    if (!answer.ok) {
      const { message = "The server refused", hint = "" } = data.error || {};
      const field = blamed(form, message);
      const said = field ? blame(field, message) : message;
      if (alert) alert.textContent = hint ? `${said} — ${hint}` : said;
      else toast(message);
      return;
    }
    if (form.dataset.show) {
      toast("");
      document.getElementById(form.dataset.show).textContent = Array.isArray(data)
        ? data.map((one) => `${one.vin} ${one.enrolment_token}`).join("\n")
        : data.token || data.secret || data.enrolment_token || data.id;
    } else if (form.dataset.next) {
      location.href = form.dataset.next.replace("{id}", data.id);
      return;
    }
    const stopped = data.current === false;
    if (stopped) {
      // a plan is stored also when it is blocked: that is not done
      const blocking = (data.findings || []).filter((one) => one.severity === "blocking");
      const text = `Blocked: ${blocking.length} finding${blocking.length === 1 ? "" : "s"}; nothing can be approved`;
      if (alert) alert.textContent = text;
      toast(text, "bad");
    } else toast(answer.status === 202 ? "The vehicle has not answered yet" : form.dataset.done || "Done");
    refreshAt = 0;
    refreshSoon();
  } catch {
    if (alert) alert.textContent = "The server did not answer";
  } finally {
    if (button) button.disabled = false;
  }
});

// The query field: the server says what may stand at the cursor; arrows move, Enter or Tab takes, Escape closes.
const fieldOf = (node) => node.closest?.("[data-query]")?.querySelector("[role=combobox]");
const choicesOf = (field) => $$("[role=option]", field.closest("[data-query]"));

function pick(field, choice) {
  for (const one of choicesOf(field)) one.setAttribute("aria-selected", String(one === choice));
  field.toggleAttribute("aria-activedescendant", Boolean(choice));
  if (choice) {
    field.setAttribute("aria-activedescendant", choice.id);
    choice.scrollIntoView({ block: "nearest" });
  }
}

function take(field, choice) {
  const { start, end } = choice.parentElement.dataset;
  const after = field.value.slice(Number(end));
  const text = choice.dataset.text + (after.startsWith(" ") ? "" : " ");
  field.value = field.value.slice(0, Number(start)) + text + after;
  const at = Number(start) + choice.dataset.text.length + 1;
  field.focus();
  field.setSelectionRange(at, at);
  htmx.trigger(field, "look");
}

function closeChoices(field) {
  field.setAttribute("aria-expanded", "false");
  field.removeAttribute("aria-activedescendant");
  document.getElementById(field.getAttribute("aria-controls")).replaceChildren();
}

document.addEventListener("htmx:configRequest", (event) => {
  if (event.target.matches("[data-query] [role=combobox]"))
    event.detail.parameters.cursor = event.target.selectionStart;
});
document.addEventListener("htmx:afterSwap", (event) => {
  const field = fieldOf(event.target);
  if (field && event.target.matches(".choices"))
    field.setAttribute("aria-expanded", String(choicesOf(field).length > 0));
});
document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (!field.matches?.("[data-query] [role=combobox]")) return;
  const choices = choicesOf(field);
  const at = choices.findIndex((one) => one.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" && !choices.length) htmx.trigger(field, "look");
  else if (event.key === "ArrowDown") pick(field, choices[(at + 1) % choices.length]);
  else if (event.key === "ArrowUp" && choices.length) pick(field, choices.at(at <= 0 ? -1 : at - 1));
  else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) take(field, choices[at]);
  else if (event.key === "Escape" && field.getAttribute("aria-expanded") === "true") {
    htmx.trigger(field, "htmx:abort"); // what is still asked would open them again
    closeChoices(field);
  }
  else return;
  event.preventDefault();
});
document.addEventListener("mousedown", (event) => {
  const choice = event.target.closest("[data-query] [role=option]");
  if (!choice) return;
  event.preventDefault(); // the field keeps the focus
  take(fieldOf(choice), choice);
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches?.("[data-query] [role=combobox]")) closeChoices(event.target);
});

function toast(text, tone = "") {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.dataset.tone = tone;
  const stay_ms = tone ? 10000 : 4000;
  if (text)
    setTimeout(() => {
      if (box.textContent === text) box.textContent = "";
    }, stay_ms);
}

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard?.writeText(copy.dataset.copy);
    toast(`Copied ${copy.dataset.copy}`);
  }
  if (event.target.closest("[data-theme-toggle]")) {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("ringroad-theme", next);
    document.documentElement.dataset.theme = next;
    $$(".chart").forEach(draw);
  }
});

// Charts: the server gives rows, this gives them the page's colours. Tooltips are drawn on the canvas,
// because the content policy forbids inline styles.
function draw(element) {
  const spec = JSON.parse(element.dataset.chart);
  const ink = css("--ink"),
    soft = css("--soft"),
    line = css("--line");
  const colours = ["--s4", "--s3", "--s1", "--s5", "--s2", "--run", "--bad", "--idle"].map(css);
  const chart = echarts.getInstanceByDom(element) || echarts.init(element);
  const category = {
    type: "category",
    data: spec.categories,
    axisLabel: { color: soft, hideOverlap: true },
    axisLine: { lineStyle: { color: line } },
    axisTick: { show: false },
  };
  const value = {
    type: "value",
    name: spec.unit,
    nameLocation: spec.horizontal ? "middle" : "end",
    nameGap: spec.horizontal ? 26 : 12,
    nameTextStyle: { color: soft, align: spec.horizontal ? "center" : "left" },
    minInterval: spec.integer ? 1 : 0,
    axisLabel: { color: soft },
    splitLine: { lineStyle: { color: line } },
  };
  chart.setOption(
    {
      animation: false,
      color: colours,
      textStyle: { fontFamily: "Inter, sans-serif", color: ink },
      grid: {
        left: 8,
        right: 16,
        top: spec.series.length > 1 ? 34 : spec.horizontal ? 6 : 30,
        bottom: spec.horizontal ? 24 : 6,
        containLabel: true,
      },
      tooltip: {
        trigger: "axis",
        renderMode: "richText",
        axisPointer: { type: spec.kind === "line" ? "line" : "shadow" },
        backgroundColor: css("--surface"),
        borderColor: line,
        textStyle: { color: ink },
      },
      legend:
        spec.series.length > 1
          ? { top: 0, right: 8, textStyle: { color: soft }, itemHeight: 10, itemWidth: 14 }
          : undefined,
      xAxis: spec.horizontal ? value : category,
      yAxis: spec.horizontal ? { ...category, inverse: true } : value,
      series: spec.series.map((one) => ({
        name: one.name,
        type: spec.kind,
        data: one.data,
        stack: spec.stack ? "all" : undefined,
        barMaxWidth: 26,
        symbolSize: 6,
        itemStyle: one.tone ? { color: css(`--${one.tone}`) } : undefined,
        lineStyle: one.tone ? { color: css(`--${one.tone}`) } : undefined,
      })),
      aria: { enabled: true },
    },
    true,
  );
}
// A thing of the page may be dragged onto the button of a form: it is chosen there, and the form is sent.
document.addEventListener("dragstart", (event) => {
  const station = event.target.closest?.("[data-station]");
  if (station) event.dataTransfer.setData("text/x-station", station.dataset.station);
});
document.addEventListener("dragover", (event) => {
  if (event.target.closest?.("[data-drop]") && event.dataTransfer.types.includes("text/x-station"))
    event.preventDefault();
});
document.addEventListener("drop", (event) => {
  const button = event.target.closest?.("[data-drop]");
  const station = event.dataTransfer.getData("text/x-station");
  if (!button || !station) return;
  event.preventDefault();
  button.form.elements[button.dataset.drop].value = station;
  button.form.requestSubmit(button);
});
// A drawing in motion is held by its button, and stands at first for whoever asked for less motion.
function hold(button, held) {
  const drawing = document.getElementById(button.dataset.motion);
  if (held) drawing.pauseAnimations();
  else drawing.unpauseAnimations();
  button.setAttribute("aria-pressed", String(held));
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-motion]");
  if (button) hold(button, button.getAttribute("aria-pressed") !== "true");
});
// An answer that makes no fact is looked for until it is there.
setInterval(() => {
  if (!document.hidden && document.querySelector("[data-waiting]")) refreshSoon();
}, REFRESH_MS);
addEventListener("resize", () =>
  $$(".chart").forEach((element) => echarts.getInstanceByDom(element)?.resize()),
);
document.addEventListener("htmx:afterSettle", () =>
  $$(".chart")
    .filter((element) => !echarts.getInstanceByDom(element))
    .forEach(draw),
);

document.addEventListener("DOMContentLoaded", () => {
  $$(".chart").forEach(draw);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches)
    $$("[data-motion]").forEach((button) => hold(button, true));
  followEvents();
});
