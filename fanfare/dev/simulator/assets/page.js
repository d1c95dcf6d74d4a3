// Keeps the page current: fetches it every two seconds and exchanges the main part, with those
// details open that were open. The server escapes every text; nothing is assembled here.
const PERIOD_MS = 2000;

async function refresh() {
  const answer = await fetch("/", { cache: "no-store" });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = fresh.getElementById("live");
  const current = document.getElementById("live");
  if (next === null || next.dataset.version === current.dataset.version) return;
  for (const details of current.querySelectorAll("details[open]")) {
    next.querySelector(`#${details.id}`)?.setAttribute("open", "");
  }
  current.replaceWith(document.adoptNode(next));
}

async function keepFresh() {
  try {
    if (!document.hidden) await refresh();
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
  setTimeout(keepFresh, PERIOD_MS);
}

setTimeout(keepFresh, PERIOD_MS);
