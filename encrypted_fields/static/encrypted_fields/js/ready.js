// What must not be used before the script is ready: inputs and buttons with data-cmk-waits are `disabled` in the page.

const LOST = "The script that seals did not come whole. Reload the page.";

/** Enables what waits in `form` when libsodium can work; says in `.cmk-waiting` why it cannot. */
export async function ready(form) {
  const said = Array.from(form.querySelectorAll(".cmk-waiting"));
  try {
    if (!isSecureContext) throw new Error("Open this page over https: without it nothing can be sealed.");
    if (!globalThis.sodium) throw new Error(LOST);
    await sodium.ready;
  } catch (error) {
    for (const place of said) place.textContent = error.message || LOST;
    return;
  }
  for (const one of form.querySelectorAll("[data-cmk-waits]")) one.disabled = false;
  for (const place of said) place.hidden = true;
}
