-- Prosody 13 and 0.12 for the stack of compose.yaml: one domain, one component, no other server.
--
-- There is no TLS here since nothing but the stack reaches these ports. Before you publish 5222 to
-- other machines, give it certificates and take the lines about TLS and encryption out.

local secrets = ENV_SECRETS or "/run/secrets"

-- Prosody 13 brings FileLine.
local first_line = FileLine or function (path)
	local file = assert(io.open(path))
	local line = file:read("l")
	file:close()
	return line
end

log = { info = "*console" }
authentication = "internal_hashed"
storage = "internal"
modules_enabled = { "roster", "saslauth", "disco", "ping" }
modules_disabled = { "s2s", "tls" }
c2s_require_encryption = false
c2s_direct_tls_ports = {}
allow_unencrypted_plain_auth = false

-- Components are taken from other containers too, not only from this one.
component_interfaces = { "*" }
component_ports = { 5347 }

VirtualHost "localhost"

Component "svc.localhost"
	component_secret = first_line(secrets .. "/server_secret")
