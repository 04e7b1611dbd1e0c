// The page of imports: sends files to the management API and shows what it says of them; it decides nothing.
"use strict";

const BLOCK = 512; // bytes of a tar's block
const NAME_MAX = 100; // bytes of a name in a tar's header

// Return a tar's header for one plain file. Source: POSIX.1-2017, ustar.
function tarHeader(name, size) {
  const bytes = new Uint8Array(BLOCK);
  const encoder = new TextEncoder();
  const put = (text, at) => bytes.set(encoder.encode(text), at);
  if (encoder.encode(name).length > NAME_MAX) throw new RangeError(`“${name}” is a name of more than 100 bytes`);
  put(name, 0);
  put("0000644\0", 100);
  put("0000000\0", 108);
  put("0000000\0", 116);
  put(`${size.toString(8).padStart(11, "0")}\0`, 124);
  put("00000000000\0", 136);
  put("        ", 148); // the checksum counts as spaces
  put("0", 156);
  put("ustar\0" + "00", 257);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return bytes;
}

// Return what is sent: an artifact as it is, a set in a tar with its files behind it. Files are not read into memory.
function bodyOf(files) {
  const sets = files.filter((file) => file.name.endsWith(".json"));
  if (!sets.length && files.length === 1) return files[0];
  if (sets.length !== 1) throw new RangeError("Choose one Mender artifact, or one JSON and the files that it names");
  const parts = [];
  for (const file of [sets[0], ...files.filter((each) => each !== sets[0])]) {
    parts.push(tarHeader(file === sets[0] ? "set.json" : file.name, file.size), file);
    parts.push(new Uint8Array((BLOCK - (file.size % BLOCK)) % BLOCK));
  }
  return new Blob([...parts, new Uint8Array(2 * BLOCK)]);
}

function cell(row, text, name = "td") {
  const made = document.createElement(name);
  made.textContent = text;
  row.append(made);
  return made;
}

function ecuChoice(form, part) {
  const select = document.createElement("select");
  select.dataset.module = part.module;
  select.setAttribute("aria-label", `ECU for ${part.module}`);
  const ecus = form.elements.programme_id.selectedOptions[0].dataset.ecus.split(" ");
  for (const name of ["", ...ecus]) select.add(new Option(name || "choose", name, false, name === (part.ecu || "")));
  select.addEventListener("change", () => form.requestSubmit(form.querySelector("[data-verb=look]")));
  return select;
}

function show(form, looked) {
  const place = form.querySelector("[data-looked]");
  const said = document.createElement("p");
  const kind = looked.kind === "mender" ? "Mender artifact" : "hawkBit distribution set";
  said.textContent = `${kind} ${looked.name} ${looked.version || ""}, sha256 ${looked.sha256}`;
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const title of ["Module", "File", "Read", "ECU", "Version", "Becomes"]) cell(head, title, "th");
  const rows = table.createTBody();
  for (const part of looked.parts) {
    const row = rows.insertRow();
    cell(row, part.module);
    cell(row, part.filename);
    cell(row, part.bytes === null ? "–" : `${part.format || "?"}, ${part.bytes.toLocaleString("en")} bytes`);
    cell(row, "").append(ecuChoice(form, part));
    cell(row, part.version || "–");
    const fate = cell(row, "");
    fate.className = part.refused ? "bad" : "";
    fate.textContent = part.refused
      ? `refused: ${part.refused.message}${part.refused.hint ? ` — ${part.refused.hint}` : ""}`
      : ["a package", part.signature].filter(Boolean).join("; ");
  }
  scroll.append(table);
  place.replaceChildren(said, scroll);
  const taken = looked.parts.every((part) => !part.refused);
  const last = document.createElement("p");
  if (looked.refused) last.className = "note bad";
  if (looked.refused) last.textContent = `No release: ${looked.refused.message}`;
  else if (taken) last.textContent = form.elements.packages_only.checked ? "No release." : "And a release, as a draft.";
  else last.textContent = "Nothing is imported while something is refused.";
  place.append(last);
  form.querySelector("[data-verb=import]").disabled = !taken || Boolean(looked.refused);
}

async function send(form, verb) {
  const query = new URLSearchParams({ programme_id: form.elements.programme_id.value });
  for (const name of ["name", "version"]) if (form.elements[name].value.trim()) query.set(name, form.elements[name].value.trim());
  if (form.elements.packages_only.checked) query.set("packages_only", "true");
  for (const each of form.querySelectorAll("[data-module]"))
    if (each.value) query.append("ecu", `${each.dataset.module}=${each.value}`);
  const answer = await fetch(`/api/v1/imports${verb === "look" ? "/look" : ""}?${query}`, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream", "X-Ringroad": "console" },
    body: bodyOf([...form.elements.files.files]),
  });
  const data = await answer.json().catch(() => ({}));
  if (answer.status === 401) location.href = "/login";
  if (!answer.ok) {
    const { message = "The server refused", hint = "" } = data.error || {};
    throw new RangeError(hint ? `${message} — ${hint}` : message);
  }
  return data;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-import]")) return;
  event.preventDefault();
  const verb = event.submitter?.dataset.verb || "look";
  const alert = form.querySelector("[role=alert]");
  alert.textContent = "";
  event.submitter?.setAttribute("aria-busy", "true");
  try {
    const data = await send(form, verb);
    if (verb === "look") show(form, data);
    else location.href = data.release ? `/releases/${data.release.id}` : "/releases";
  } catch (error) {
    form.querySelector("[data-looked]").replaceChildren();
    form.querySelector("[data-verb=import]").disabled = true;
    alert.textContent = error instanceof RangeError ? error.message : "The server did not answer";
  } finally {
    event.submitter?.removeAttribute("aria-busy");
  }
});

document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (!form?.matches("[data-import]") || event.target.dataset.module !== undefined) return;
  form.querySelector("[data-looked]").replaceChildren(); // what was said of other files, or of another programme
  form.querySelector("[data-verb=import]").disabled = true;
});
