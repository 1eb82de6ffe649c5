// Every request of the page goes through here: JSON both ways, refusals as one kind of error.

export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function readAnswer(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // An answer that is not JSON is treated below by its status alone.
  }
  if (response.status === 401) {
    // The shell answers with the way in; the path stays, so signing in leads back here.
    location.reload();
  }
  if (!response.ok) {
    const detail = body?.detail ?? `cannot do this: the daemon answered ${response.status}`;
    throw new Refusal(response.status, detail);
  }
  return body;
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refusal(0, "cannot reach the hive: is the daemon running? (hive status)");
  }
  return readAnswer(response);
}

export function get(path) {
  return request(path, { headers: { Accept: "application/json" } });
}

export function post(path, params) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Hive": "page" },
    body: JSON.stringify(params),
  });
}

/** Do one verb of the action layer; the page then hears from the stream what became of it. */
export function act(name, params) {
  return post(`/api/actions/${name}`, params);
}

/** A key that makes repeating one send harmless. */
export function newKey() {
  return `page-${crypto.randomUUID()}`;
}
