// What pages gain with JavaScript: copy buttons, the theme at once, clean URLs, live news, and a date
// under the pointer in charts. Every page works without it. Listeners sit on the document, so that
// they hold for whatever htmx swaps in.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);

// --- Copying: the text of the element that the button names.
async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard but the old one, which copies what is selected.
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  const label = button.textContent;
  button.textContent = "Copied";
  find("#announce").textContent = "Copied to the clipboard.";
  setTimeout(() => { button.textContent = label; find("#announce").textContent = ""; }, 1600);
}

// --- The theme: what the form does over the network, at once.
function setTheme(form) {
  const next = find("[name=to]", form).value;
  document.documentElement.dataset.theme = next;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `theme=${next}; path=/; max-age=31536000; samesite=lax${secure}`;
  const other = next === "dark" ? "light" : "dark";
  find("[name=to]", form).value = other;
  find("button", form).lastChild.textContent = other === "dark" ? "Dark" : "Light";
}

// --- A list to pick from gets a field that hides what does not match.
function narrow(input) {
  const wanted = input.value.toLowerCase();
  for (const row of find(input.dataset.narrows).children) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted) && !find(":checked", row);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-theme-form]")) return;
  event.preventDefault();
  setTheme(event.target);
});
document.addEventListener("input", (event) => {
  if (event.target.matches("[data-narrows]")) narrow(event.target);
});
// Narrowing the list is no choice, so the form does not hear of it.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-narrows]")) event.stopPropagation();
}, true);
// A URL to share holds only what was asked.
document.addEventListener("formdata", (event) => {
  if (event.target.method !== "get") return;
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});

// --- Charts: the day under the pointer.
document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.("svg[data-from]");
  if (!chart) return;
  const { from, to, left, right, width } = chart.dataset;
  const box = chart.getBoundingClientRect();
  const x = (event.clientX - box.left) * (width / box.width);
  const share = (x - left) / (right - left);
  const line = find(".cursor", chart);
  line.setAttribute("visibility", share < 0 || share > 1 ? "hidden" : "visible");
  line.setAttribute("x1", x);
  line.setAttribute("x2", x);
  const day = new Date(Date.parse(from) + share * (Date.parse(to) - Date.parse(from)));
  const out = find(".readout", chart.closest("section"));
  if (out && share >= 0 && share <= 1) out.textContent = day.toISOString().slice(0, 10);
});

// --- Live: when the changelog moves, the part that is marked is fetched again. A tab that nobody sees
// holds no connection: browsers open only six to one host.
const live = find("meta[name=live]");
let stream, timer;

function listen() {
  if (!live || !find("[data-live]") || document.hidden) return;
  stream = new EventSource(live.content);
  for (const kind of live.dataset.types.split(" ")) stream.addEventListener(kind, hear);
}

function hear(event) {
  live.content = live.content.replace(/since=\d+/, `since=${event.lastEventId}`);
  clearTimeout(timer);
  timer = setTimeout(refresh, 300);
}

async function refresh() {
  const part = find("[data-live]");
  if (!part) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = document.adoptNode(find(`#${part.id}`, page));
  const known = new Set([...part.querySelectorAll("[data-event]")].map((item) => item.dataset.event));
  for (const item of fresh.querySelectorAll("[data-event]"))
    item.classList.toggle("new", !known.has(item.dataset.event));
  part.replaceWith(fresh);
  find("#announce").textContent = "The changelog has news.";
}

document.addEventListener("visibilitychange", () => (document.hidden ? stream?.close() : listen()));

// Only the browser knows what "auto" is at the moment; the button offers the other.
if (document.documentElement.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches) {
  const form = find("[data-theme-form]");
  find("[name=to]", form).value = "light";
  find("button", form).lastChild.textContent = "Light";
}
// On a phone the navigation scrolls: show where we are. (`scrollIntoView` would move the place from which
// the Tab key starts.)
const here = find(".nav [aria-current]");
if (here) find(".nav").scrollLeft = here.offsetLeft - find(".nav").clientWidth / 2;
for (const input of document.querySelectorAll("[data-narrows]")) input.closest("label").hidden = false;
listen();
