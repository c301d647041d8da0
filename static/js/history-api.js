// How the history's pages speak to the API: as the member who is signed in.

/** Send a body; return the answer's. Throws an Error with its `status` and what it says. */
export async function send(url, body, method = "POST") {
  const token = document.querySelector("input[name=csrfmiddlewaretoken]").value;
  const response = await fetch(url, {
    method,
    headers: {
      Accept: "application/json",
      "Content-Type": "application/json",
      "X-CSRFToken": token,
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const answer = await response.json().catch(() => ({}));
  // Signed out, in another tab perhaps: the page leads to the login by itself.
  if (response.status === 401 || response.status === 403) location.reload();
  if (!response.ok) throw Object.assign(new Error(answer.detail), { status: response.status });
  return answer;
}

/** Return what the API calls an entry whose key is `source:id`. */
export function named(key) {
  const colon = key.indexOf(":");
  return { source: key.slice(0, colon), id: key.slice(colon + 1) };
}
