// What goes to the portal and comes back. JSON only; a refusal becomes an Error with the portal's own sentence.

export async function get(address) {
  return answer(await fetch(address, { headers: { Accept: "application/json" }, cache: "no-store" }));
}

export async function post(address, body, csrf) {
  const headers = { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": csrf };
  return answer(await fetch(address, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answer(response) {
  if (response.redirected || !(response.headers.get("Content-Type") ?? "").startsWith("application/json")) {
    throw new Error("The portal did not answer as expected. You may have been signed out: reload the page.");
  }
  const found = await response.json();
  if (!response.ok) throw new Error(found.message ?? "The portal refused.");
  return found;
}
