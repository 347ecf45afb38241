// What happens to a sealed configuration, step by step, up to the proxy's verdict.

import { get } from "./exchange.js";

const EVERY = 1500;
const PATIENCE = 60_000;

export function mark(step, state) {
  document.getElementById(`step-${step}`).className = state;
}

/** Ask until the proxy has spoken or a minute is over; shows the verdict either way. */
export async function watch(address, version) {
  const until = Date.now() + PATIENCE;
  mark("proxy", "busy");
  let said;
  do {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    said = await get(address);
    if (said.version !== version) break;
  } while (said.state === "waiting" && Date.now() < until);
  show(said.version === version ? said : { state: "waiting", headline: "A newer version was sealed meanwhile", advice: "" });
}

function show({ state, headline, advice }) {
  mark("proxy", state === "active" ? "done" : state === "refused" ? "bad" : "busy");
  document.getElementById("proxy-says").textContent = headline;
  const place = document.getElementById("advice");
  place.textContent = state === "waiting" ? `${advice} You can leave this page.` : advice;
  place.hidden = false;
}
