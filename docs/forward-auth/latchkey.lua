-- Asks Latchkey whether a request may pass: /etc/haproxy/latchkey.lua, for HAProxy 2.6 or later.

local CREDENTIALS = { 'authorization', 'x-api-key' }
local IDENTITY = { 'x-device-id', 'x-device-name', 'x-owner-id', 'x-key-id', 'x-device-scopes' }
local REFUSALS = { [401] = true, [403] = true, [429] = true, [503] = true }
local REFUSAL_FIELDS = { 'www-authenticate', 'retry-after', 'ratelimit', 'ratelimit-policy', 'content-type', 'cache-control' }

-- All values, so that Latchkey refuses two.
local function credentials_of(txn)
    local headers, found = txn.http:req_get_headers(), {}
    for _, name in ipairs(CREDENTIALS) do
        local values, index = headers[name], 0
        while values and values[index] do
            found[name] = found[name] or {}
            table.insert(found[name], values[index])
            index = index + 1
        end
    end
    return found
end

-- An answer that names nobody is none of Latchkey's: then this fails, and haproxy.cfg lets nobody in.
local function let_in(txn, answer)
    for _, name in ipairs(IDENTITY) do
        txn.http:req_set_header(name, answer.headers[name][0])
    end
    txn:set_var('txn.latchkey', 'pass')
end

-- HAProxy's own 503, for a Latchkey that it cannot reach, has no Retry-After.
local function is_refusal(answer)
    local has_decided = answer.status ~= 503 or answer.headers['retry-after']
    return REFUSALS[answer.status] and has_decided
end

local function refuse(txn, answer)
    local reply = txn:reply({ status = answer.status })
    for _, name in ipairs(REFUSAL_FIELDS) do
        if answer.headers[name] then reply:add_header(name, answer.headers[name][0]) end
    end
    reply:set_body(answer.body)
    txn:done(reply)
end

core.register_action('latchkey', { 'http-req' }, function(txn, url)
    -- So many milliseconds for each of four attempts: HAProxy repeats what is not answered in time.
    local request = { url = url, headers = credentials_of(txn), timeout = 4000 }
    local answer = core.httpclient():get(request)
    if answer.status == 204 then
        let_in(txn, answer)
    elseif is_refusal(answer) then
        refuse(txn, answer)
    end
end, 1)
