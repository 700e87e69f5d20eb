-- SPDX-License-Identifier: Apache-2.0
-- Each request carries one of 100,000 API keys, in an order that visits all of them.
local n = 0
request = function()
  n = (n + 7919) % 100000
  return wrk.format("GET", "/", {["Host"] = "a", ["X-Api-Key"] = "key-" .. n})
end
