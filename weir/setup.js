// The page behind the one-time link. The link's token stands behind #, where it is sent to no server by itself.
"use strict";

const status = document.getElementById("status");
const token = new URLSearchParams(location.hash.slice(1)).get("token") || "";
history.replaceState(null, "", "/setup");

const PROBLEMS = {
  link_over: "链接已失效：请重新运行 weir up 取得新链接。The link is used or over: start weir up again for a new one.",
  too_many_tries: "尝试次数过多，请稍后再试。Too many tries: wait a while.",
};

if (!token) status.textContent = PROBLEMS.link_over;

document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [name, password, again] = ["name", "password", "again"].map((id) => document.getElementById(id).value);
  if (password !== again) {
    status.textContent = "两次输入的密码不一致。The two passwords differ.";
    return;
  }
  const save = document.getElementById("save");
  save.disabled = true;
  try {
    const response = await fetch("/api/setup", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, name, password }),
    });
    const answer = await response.json();
    if (response.ok) {
      status.textContent = `完成，已以 ${answer.name} 登录。Done: signed in as ${answer.name}.`;
      return;
    }
    status.textContent = PROBLEMS[answer.code] || answer.detail;
  } catch {
    status.textContent = "无法连接，请重试。No answer: try again.";
  }
  save.disabled = false;
});
