// The phone: choose an account and a follower, chat, and see what comes back by which way.

import * as api from "./api.js";
import { bubble, element, status } from "./bubbles.js";

const KINDS = [
  ["image", "图片", "Image"], ["voice", "语音", "Voice"], ["video", "视频", "Video"], ["shortvideo", "小视频", "Short"],
  ["location", "位置", "Location"], ["link", "链接", "Link"], ["file", "文件", "File"], ["miniprogrampage", "小程序", "Mini"],
];
// Which field of a kind takes what is written in the input box, so that a voice can say something.
const TOLD_IN = { voice: "recognition", location: "label", link: "title", file: "title", miniprogrampage: "title" };
const TYPING_MS = 15000;
const WAIT_S = 20;

const $ = (id) => document.getElementById(id);
const state = { accounts: [], account: null, openid: null, nickname: "", following: false, seq: 0, poll: null, done: new Map(), typing: 0 };

async function attempt(work) {
  $("notice").hidden = true;
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    $("notice").textContent = error instanceof api.Refused ? error.message : `沙箱没有应答 The sandbox does not answer (${error.message})`;
    $("notice").hidden = false;
    return undefined;
  }
}

// Accounts and followers

async function loadAccounts() {
  state.accounts = await api.accounts();
  fill($("account"), state.accounts.map((account) => [account.account, account.account]), "还没有公众号 No account yet");
  const [wanted, openid] = decodeURIComponent(location.hash.slice(1)).split("/");
  const known = state.accounts.some((account) => account.account === wanted);
  await chooseAccount(known ? wanted : state.accounts[0]?.account, known ? openid : undefined);
}

async function chooseAccount(name, openid) {
  state.account = state.accounts.find((account) => account.account === name) || null;
  if (state.account) $("account").value = name;
  $("new-follower").disabled = !state.account;
  $("chat-title").textContent = state.account ? state.account.account : "公众号";
  showMenu(state.account ? state.account.menu : []);
  const people = state.account ? await api.followers(name) : [];
  fill($("follower"), people.map((person) => [person.openid, `${person.nickname}${person.following ? "" : "（未关注）"}`]), "还没有粉丝 No follower yet");
  const known = people.some((person) => person.openid === openid);
  await chooseFollower(known ? openid : people[people.length - 1]?.openid);
}

async function chooseFollower(openid) {
  state.poll?.abort();
  Object.assign(state, { openid: openid || null, seq: 0, nickname: "" });
  state.done.clear();
  $("chat").replaceChildren();
  if (state.account) history.replaceState(null, "", `#${encodeURIComponent(`${state.account.account}/${openid || ""}`)}`);
  if (!openid) {
    showEmpty();
    showFacts(null);
    return;
  }
  $("follower").value = openid;
  await refreshFacts();
  listen(openid);
}

async function newFollower() {
  const openid = await api.newFollower(state.account.account);
  await chooseAccount(state.account.account, openid);
  $("message").focus();
}

function fill(select, options, none) {
  select.replaceChildren(...options.map(([value, text]) => Object.assign(element("option", "", text), { value })));
  if (options.length === 0) select.append(Object.assign(element("option", "", none), { value: "" }));
  select.disabled = options.length === 0;
}

// What the phone shows

async function listen(openid) {
  const control = new AbortController();
  state.poll = control;
  let pause = 500;
  while (!control.signal.aborted) {
    try {
      const news = await api.timeline(openid, state.seq, state.seq === 0 && $("chat").children.length === 0 ? 0 : WAIT_S, control.signal);
      if (control.signal.aborted) return;
      show(news);
      pause = 500;
    } catch (error) {
      if (control.signal.aborted || error instanceof api.Refused) return;
      $("chat-state").textContent = "连接断开，正在重试… Reconnecting";
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(pause * 2, 5000);
    }
  }
}

function show(news) {
  const chat = $("chat");
  const atEnd = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
  for (const entry of news.messages) {
    chat.querySelector(".empty")?.remove();
    Object.assign(entry, state.done.get(entry.seq));
    const people = { account: state.account.account, follower: state.nickname };
    chat.append(bubble(entry, people, (choice) => send({ type: "text", content: choice.content, menu_id: choice.id })));
    state.seq = entry.seq;
  }
  if (chat.children.length === 0) showEmpty();
  if (atEnd || news.messages.some((entry) => entry.via === "self")) chat.scrollTop = chat.scrollHeight;
  showTyping(news.typing);
  if (news.messages.length > 0 || news.following !== state.following) refreshFacts();
}

function showEmpty() {
  const words = state.account
    ? state.openid ? "说点什么吧。 Say something." : "先创建一个粉丝。 Create a follower first."
    : "还没有公众号：用 PUT /sandbox/accounts/… 创建。 No account yet.";
  $("chat").replaceChildren(element("li", "empty", words));
}

function showTyping(typing) {
  clearTimeout(state.typing);
  $("chat-state").textContent = typing ? "对方正在输入… typing" : "";
  if (typing) state.typing = setTimeout(() => showTyping(false), TYPING_MS);
}

async function refreshFacts() {
  const openid = state.openid;
  const facts = await attempt(() => api.follower(openid));
  if (facts && openid === state.openid) showFacts(facts);
}

function showFacts(facts) {
  const on = Boolean(facts);
  state.following = on && facts.following;
  state.nickname = on ? facts.nickname : "";
  for (const id of ["message", "plus", "event-name", "event-key", "scan"]) $(id).disabled = !on;
  for (const button of document.querySelectorAll(".send, #scan-form button, #event-form button, .kinds button, .menu button")) button.disabled = !on;
  $("follow").disabled = !on || state.following;
  $("unfollow").disabled = !state.following;
  $("fact-following").textContent = on ? (state.following ? "已关注 following" : "未关注 not following") : "–";
  $("fact-openid").textContent = on ? facts.openid : "–";
  const windows = on ? Object.entries(facts.windows) : [];
  const names = { message: "48 小时内", act: "1 分钟内" };
  $("fact-windows").textContent = windows.map(([name, window]) => `${names[name]} ${window.left} 条`).join("，") || (on ? "没有 none" : "–");
}

// What the follower does

async function send(message) {
  const openid = state.openid;
  if (!openid) return;
  const result = await attempt(() => api.send(openid, message));
  if (!result || openid !== state.openid || result.seq === null) return;
  state.done.set(result.seq, { answer: result.answer, tries: result.tries, took_ms: result.took_ms });
  const shown = $("chat").querySelector(`[data-seq="${result.seq}"] .meta`);
  shown?.replaceWith(status(result));
  refreshFacts();
}

const event = (name, key = "") => send({ type: "event", event: name, key });

async function sendText() {
  const content = $("message").value.trim();
  if (!content) return;
  $("message").value = "";
  grow();
  await send({ type: "text", content });
}

async function sendKind(kind) {
  const message = { type: kind };
  const told = $("message").value.trim();
  if (told && TOLD_IN[kind]) {
    message[TOLD_IN[kind]] = told;
    $("message").value = "";
  }
  toggleKinds(false);
  await send(message);
}

function grow() {
  const box = $("message");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 110)}px`;
}

function toggleKinds(open) {
  $("kinds").hidden = !open;
  $("plus").setAttribute("aria-expanded", String(open));
  if (!open) return;
  $("chat").scrollTop = $("chat").scrollHeight;
  $("kinds").querySelector("button").focus();
}

// The account's menu

function showMenu(menu) {
  $("menu").hidden = menu.length === 0;
  $("menu").replaceChildren(...menu.map((button) => {
    const place = element("div");
    place.append(...(button.sub_button ? folder(button) : [leaf(button)]));
    return place;
  }));
}

function leaf(button) {
  const made = element("button", "", button.name);
  made.type = "button";
  made.dataset.testid = "menu-item";
  const known = { click: "CLICK", view: "VIEW", miniprogram: "view_miniprogram" };
  made.addEventListener("click", () => {
    closeFolders();
    event(known[button.type] || button.type, button.key || button.url || button.pagepath || "");
  });
  return made;
}

function folder(button) {
  const head = element("button", "opens", button.name);
  const inner = element("div", "inner");
  head.type = "button";
  head.dataset.testid = "menu-folder";
  head.setAttribute("aria-expanded", "false");
  inner.hidden = true;
  inner.append(...button.sub_button.map(leaf));
  head.addEventListener("click", () => {
    const open = inner.hidden;
    closeFolders();
    inner.hidden = !open;
    head.setAttribute("aria-expanded", String(open));
  });
  return [inner, head];
}

function closeFolders() {
  for (const inner of document.querySelectorAll(".menu .inner")) inner.hidden = true;
  for (const head of document.querySelectorAll(".menu .opens")) head.setAttribute("aria-expanded", "false");
}

// Wiring

function wire() {
  for (const [kind, chinese, english] of KINDS) {
    const button = element("button", "", chinese);
    const small = element("span", "", english);
    small.lang = "en";
    button.append(small);
    button.type = "button";
    button.dataset.testid = `kind-${kind}`;
    button.addEventListener("click", () => sendKind(kind));
    $("kinds").append(button);
  }
  $("account").addEventListener("change", () => attempt(() => chooseAccount($("account").value)));
  $("follower").addEventListener("change", () => attempt(() => chooseFollower($("follower").value)));
  $("new-follower").addEventListener("click", () => attempt(newFollower));
  $("follow").addEventListener("click", () => event("subscribe"));
  $("unfollow").addEventListener("click", () => event("unsubscribe"));
  $("plus").addEventListener("click", () => toggleKinds($("kinds").hidden));
  $("message").addEventListener("input", grow);
  $("message").addEventListener("keydown", (key) => {
    if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
    key.preventDefault();
    sendText();
  });
  onSubmit("compose", sendText);
  onSubmit("scan-form", () => send({ type: "event", event: "SCAN", scene: $("scan").value.trim() }));
  onSubmit("event-form", () => event($("event-name").value.trim(), $("event-key").value.trim()));
  document.addEventListener("keydown", (key) => {
    if (key.key !== "Escape") return;
    closeFolders();
    if (!$("kinds").hidden) {
      toggleKinds(false);
      $("plus").focus();
    }
  });
  if (matchMedia("(max-width: 820px)").matches) $("more").open = false;
}

function onSubmit(form, work) {
  $(form).addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    work();
  });
}

wire();
attempt(loadAccounts);
