// One timeline entry as an element. Everything that came over the wire is set as text, never as HTML.

const VIA = { passive: ["被动回复", "passive"], custom: ["客服消息", "custom"], system: ["系统提示", "system"] };
const LINK = /<a\s[^>]*?href="([^"]*)"[^>]*>([^<]*)<\/a>/gi;

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = String(text);
  return made;
}

export function bubble(entry, people, onChoice) {
  const own = entry.via === "self";
  const middle = entry.type === "event" || entry.type === "system" || entry.type === "transfer_customer_service";
  const item = element("li", middle ? `middle ${entry.via}` : `line ${own ? "self" : "them"}`);
  item.dataset.testid = "bubble";
  item.dataset.via = entry.via;
  item.dataset.type = entry.type;
  item.dataset.seq = entry.seq;
  const meta = own ? status(entry) : badges(entry);
  if (middle) {
    item.append(element("span", "note", own ? eventWords(entry) : entry.content), meta);
    return item;
  }
  const name = own ? people.follower : people.account;
  const face = element("span", "face", [...(name || "?")][0]);
  face.setAttribute("aria-hidden", "true");
  const said = element("div", "said");
  said.append(element("span", "hidden", `${name}：`), body(entry, onChoice), meta);
  item.append(face, said);
  return item;
}

export function status(entry) {
  const meta = element("div", "meta");
  if (!entry.answer) {
    meta.append(element("span", "", "发送中…"));
    return meta;
  }
  const words = { passive: "已回复", success: "已送达", failed: "没有得到有效的应答" };
  meta.append(element("span", entry.answer === "failed" ? "bad" : "", words[entry.answer]));
  meta.append(element("span", "", duration(entry.took_ms)));
  if (entry.tries > 1) meta.append(element("span", "bad", `推送 ${entry.tries} 次`));
  return meta;
}

function badges(entry) {
  const meta = element("div", "meta");
  const [chinese, english] = VIA[entry.via] || [entry.via, entry.via];
  const badge = element("span", `badge ${entry.via}`, chinese);
  const small = element("span", "", ` ${english}`);
  small.lang = "en";
  badge.append(small);
  meta.append(badge);
  if (entry.took_ms !== undefined) meta.append(element("span", "took", duration(entry.took_ms)));
  if (entry.kf_account) meta.append(element("span", "", entry.kf_account));
  meta.append(element("time", "", new Date(entry.at * 1000).toLocaleTimeString("zh-CN", { hour12: false })));
  return meta;
}

function duration(millis) {
  return millis >= 1000 ? `${(millis / 1000).toFixed(1)} s` : `${Math.round(millis)} ms`;
}

function eventWords(entry) {
  const words = {
    subscribe: "你关注了公众号", unsubscribe: "你取消了关注", SCAN: "扫描了二维码", CLICK: "点击了菜单",
    VIEW: "打开了网页", LOCATION: "上报了位置",
  };
  const said = words[entry.event] || entry.event;
  return entry.key ? `${said} · ${entry.key}` : said;
}

function body(entry, onChoice) {
  const make = BODIES[entry.type];
  return make ? make(entry, onChoice) : element("div", "bubble", entry.content);
}

function textBubble(entry) {
  const made = element("div", "bubble");
  let from = 0;
  for (const match of entry.content.matchAll(LINK)) {
    made.append(entry.content.slice(from, match.index));
    made.append(/^https?:\/\//i.test(match[1]) ? outside(match[1], match[2]) : match[2]);
    from = match.index + match[0].length;
  }
  made.append(entry.content.slice(from));
  return made;
}

function outside(address, text) {
  const link = element("a", "", text);
  link.href = address;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  return link;
}

function card(parts) {
  const made = element("div", "bubble card");
  if (parts.cover) made.append(element("div", `cover ${parts.look || ""}`, parts.cover));
  if (parts.head) made.append(element("div", "head", parts.head));
  if (parts.text) made.append(element("div", "text", parts.text));
  if (parts.foot) made.append(element("div", "foot", parts.foot));
  return made;
}

function picture(entry) {
  const made = card({ cover: "图片", foot: media(entry) });
  // What the follower sent themselves was never uploaded; of an upload from before a restart only the id is left.
  if (entry.via === "self" || !entry.media_id) return made;
  const shown = element("img", "picture");
  shown.alt = "图片";
  shown.dataset.testid = "picture";
  shown.addEventListener("load", () => made.replaceChildren(shown));
  shown.src = `/sandbox/media/${encodeURIComponent(entry.media_id)}`;
  return made;
}

function articles(entry) {
  const made = element("div", "bubble card");
  entry.articles.forEach((article, index) => {
    const one = element("div", "article");
    if (index === 0) one.append(element("div", "cover", "图文"));
    const head = element("div", "head");
    head.append(/^https?:\/\//i.test(article.url) ? outside(article.url, article.title) : article.title);
    one.append(head);
    if (article.description) one.append(element("div", "text", article.description));
    made.append(one);
  });
  return made;
}

function choices(entry, onChoice) {
  const made = element("div", "bubble");
  if (entry.head_content) made.append(element("div", "", entry.head_content));
  const list = element("div", "choices");
  for (const choice of entry.list) {
    const button = element("button", "", choice.content);
    button.type = "button";
    button.dataset.testid = "msgmenu-item";
    button.addEventListener("click", () => onChoice(choice));
    list.append(button);
  }
  made.append(list);
  if (entry.tail_content) made.append(element("div", "", entry.tail_content));
  return made;
}

function voice(entry) {
  const made = element("div", "bubble");
  made.append(element("span", "voice", "语音 3″"));
  if (entry.recognition) made.append(element("div", "", entry.recognition));
  return made;
}

const media = (entry) => entry.media_id && `media ${entry.media_id.slice(0, 18)}…`;

const BODIES = {
  text: textBubble,
  voice,
  msgmenu: choices,
  news: articles,
  image: picture,
  video: (e) => card({ cover: "▶ 视频", look: "dark", head: e.title, text: e.description, foot: media(e) }),
  shortvideo: (e) => card({ cover: "▶ 小视频", look: "dark", foot: media(e) }),
  music: (e) => card({ head: `♪ ${e.title}`, text: e.description, foot: e.musicurl }),
  mpnews: (e) => card({ cover: "图文素材", foot: media(e) }),
  mpnewsarticle: (e) => card({ cover: "图文", foot: e.article_id }),
  miniprogrampage: (e) => card({ head: e.title || "小程序", cover: "小程序", foot: `${e.appid} · ${e.pagepath || ""}` }),
  wxcard: (e) => card({ head: "卡券", foot: e.card_id }),
  location: (e) => card({ head: e.label, text: `${e.latitude}, ${e.longitude}`, cover: "位置", look: "map" }),
  link: (e) => card({ head: e.title, text: e.description, foot: e.url }),
  file: (e) => card({ head: e.title, text: `${Math.ceil(e.file_total_len / 1024)} KB`, foot: "文件" }),
};
