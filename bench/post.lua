-- SPDX-License-Identifier: Apache-2.0
-- A chat-completion-sized request: 4 KB of JSON.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' .. string.rep("token ", 680) .. '"}]}'
