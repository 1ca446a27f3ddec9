// The control API, as far as the phone needs it. Every address begins with /sandbox/, so a reverse proxy may stand before it.

export class Refused extends Error {}

async function call(method, path, body, signal) {
  const options = { method, signal, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await fetch(`/sandbox/${path}`, options);
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error(`HTTP ${response.status}`);
  }
  if (!response.ok) throw new Refused(answer.error || `HTTP ${response.status}`);
  return answer;
}

const part = encodeURIComponent;

export const accounts = async () => (await call("GET", "accounts")).accounts;
export const followers = async (account) => (await call("GET", `accounts/${part(account)}/followers?limit=200`)).followers;
export const newFollower = async (account) => (await call("POST", `accounts/${part(account)}/followers`, {})).openid;
export const follower = (openid) => call("GET", `followers/${part(openid)}`);
export const send = (openid, message) => call("POST", `followers/${part(openid)}/messages`, message);
export const timeline = (openid, after, wait, signal) =>
  call("GET", `followers/${part(openid)}/timeline?after=${after}&wait=${wait}`, undefined, signal);
