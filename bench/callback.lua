-- The load: WeChat's callbacks as wrk sends them, each with a number of its own, and a look at every answer.
-- Arguments: path with its query up to "openid=", number the MsgIds start from, seconds, followers, the
-- account's original id, words every answer must hold, then the texts (one argument each).
--
-- After `seconds` nothing more is sent; the answers still on their way are waited for, then the thread stops.
-- So every callback sent has its answer, or is known to have none (wrk alone would cut the last ones off).
-- Written for one wrk thread.

local ffi = require("ffi")
ffi.cdef [[
struct bench_time { long seconds; long microseconds; };
int gettimeofday(struct bench_time *now, void *zone);
]]
local now = ffi.new("struct bench_time")

local COUNTED_DIGITS = 8
local OPENID = "oBench%022d"

-- Globals: wrk hands nothing else from a thread to done().
sent, in_time, answered, empty, refused, other, elapsed = 0, 0, 0, 0, 0, 0, 0

local openids, texts = {}, {}
local words, lasts, followers, offset
local looked_at, deadline, draining, stopped = false, nil, false, false

local function template(path, original_id, prefix, content)
  local to = "<xml><ToUserName><![CDATA[" .. original_id .. "]]></ToUserName>\n<FromUserName><![CDATA["
  local created = "]]></FromUserName>\n<CreateTime>"
  local rest = "</CreateTime>\n<MsgType><![CDATA[text]]></MsgType>\n<Content><![CDATA[" .. content
    .. "]]></Content>\n<MsgId>" .. prefix
  local tail = "</MsgId>\n</xml>"
  local sample = to .. string.format(OPENID, 0) .. created .. os.time() .. rest .. string.rep("0", COUNTED_DIGITS) .. tail
  local headers = " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
    .. "\r\nUser-Agent: Mozilla/4.0\r\nAccept: */*\r\nPragma: no-cache\r\nConnection: Keep-Alive"
    .. "\r\nContent-Type: text/xml\r\nContent-Length: " .. #sample .. "\r\n\r\n"
  return { start = "POST " .. path, head = headers .. to, created = created, rest = rest, tail = tail }
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local prefix = string.sub(args[2], 1, -COUNTED_DIGITS - 1)
  lasts, followers, words = tonumber(args[3]), tonumber(args[4]), args[6]
  offset = tonumber(string.sub(prefix, -5)) -- each load begins at another follower and another text
  for i = 1, followers do
    openids[i] = string.format(OPENID, i)
  end
  for i = 7, #args do
    texts[#texts + 1] = template(args[1], args[5], prefix, args[i])
  end
end

local function stop_when_drained()
  if not stopped and answered + empty + refused + other >= sent then
    stopped = true
    wrk.thread:stop()
    io.stderr:write("drained\n")
    io.stderr:flush()
  end
end

function request()
  ffi.C.gettimeofday(now, nil)
  local seconds = tonumber(now.seconds)
  local clock = seconds + tonumber(now.microseconds) / 1e6
  if deadline and clock >= deadline then
    if not draining then
      draining, elapsed = true, clock - deadline + lasts
    end
    stop_when_drained()
    return "" -- writes nothing: the connection rests
  end
  if looked_at then
    deadline = deadline or clock + lasts
    sent = sent + 1
  end
  looked_at = true -- wrk's first call only looks at a request, it does not send it
  local openid = openids[(sent + offset) % followers + 1]
  local text = texts[math.floor(sent / followers + offset) % #texts + 1]
  return text.start .. openid .. text.head .. openid .. text.created .. seconds .. text.rest
    .. string.format("%08d", sent) .. text.tail
end

function response(status, headers, body)
  if status ~= 200 then
    refused = refused + 1
  elseif string.find(body, words, 1, true) then
    answered = answered + 1
    if not draining then
      in_time = in_time + 1
    end
  elseif body == "success" or body == "" then
    empty = empty + 1
  else
    other = other + 1
  end
  if draining then
    stop_when_drained()
  end
end

function done(summary, latency, requests)
  local errors, line = summary.errors, { "bench" }
  local function say(name, value)
    line[#line + 1] = name .. "=" .. tostring(value)
  end
  for _, name in ipairs({ "sent", "in_time", "answered", "empty", "refused", "other", "elapsed" }) do
    say(name, threads[1]:get(name))
  end
  say("socket_errors", errors.connect + errors.read + errors.write)
  for name, percent in pairs({ p50_us = 50, p90_us = 90, p99_us = 99, p999_us = 99.9 }) do
    say(name, latency:percentile(percent))
  end
  say("max_us", latency.max)
  io.write(table.concat(line, " "), "\n")
end
