-- For wrk: sends the requests of a file, each once and in order, and prints what they took.
-- The file (FILE in the environment) holds each request behind its length, four bytes little-endian.
-- It is read as it is played, so that memory does not grow with it.
local file, sent, total = nil, 0, 0
local thread_of

function setup(thread) thread_of = thread end

local function length()
  local four = file:read(4)
  if not four then
    file:seek("set", 0)
    four = file:read(4)
  end
  local a, b, c, d = four:byte(1, 4)
  return a + b * 256 + c * 65536 + d * 16777216
end

function init()
  file = assert(io.open(os.getenv("FILE"), "rb"))
  file:setvbuf("full", 1048576)
  began = os.clock()
end

function request() return file:read(length()) end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format("TOTAL %d %d %d %.6f", summary.requests, summary.bytes, summary.duration,
    os.clock() - thread_of:get("began")))
  print(string.format("ERRORS %d %d %d %d %d", errors.connect, errors.read, errors.write,
    errors.status, errors.timeout))
  for i = 1, #latency do
    local value, count = latency(i)
    print(string.format("LATENCY %d %d", value, count))
  end
end
