/* The reasons of failures, one row each, in the order in which an event can meet them. Included
 * with REASON defined; removes it at its end.
 *
 *   REASON(ID, "NAME", RETRYABLE, SIDE, "WHEN", "ADVICE")
 *
 * RETRYABLE: the unchanged event may succeed when it is sent again later. SIDE (SENDER, OPERATOR or
 * WECHATPAY): who must act; alerts are split by it. WHEN says when the reason is given, ADVICE what
 * the operator should do.
 */
REASON(EMPTY_EVENT, "empty_event", false, SENDER, "the value is null or empty",
       "find the producer of tombstones or empty records")
REASON(EVENT_TOO_LARGE, "event_too_large", false, SENDER,
       "key, value and headers together are over max_event_bytes",
       "send less, or raise daemon.max_event_bytes")
REASON(INVALID_JSON, "invalid_json", false, SENDER,
       "not JSON, a byte order mark, a duplicate member, not UTF-8, nested too deep",
       "fix the producer's encoder")
REASON(INVALID_CLOUDEVENT, "invalid_cloudevent", false, SENDER,
       "a CloudEvents attribute is missing or wrong",
       "fix the producer; `errors` names the attributes")
REASON(UNKNOWN_TYPE, "unknown_type", false, SENDER, "the type names no endpoint of presignd",
       "fix the producer, or keep other events out of the topic")
REASON(INVALID_REQUEST, "invalid_request", false, SENDER, "data does not match its schema",
       "fix the producer; `errors` names the members")
REASON(EXPIRED, "expired", false, SENDER,
       "expirytime or max_event_age_ms passed before a call succeeded",
       "send a new event; look at lag and at the endpoint's health")
REASON(UNKNOWN_MERCHANT, "unknown_merchant", true, OPERATOR,
       "the merchant is not configured here, has the wrong mode, or is not named",
       "configure the merchant, then send the event again")
REASON(REJECTED, "rejected", false, SENDER, "the endpoint refused for good",
       "read `answer`: a wrong parameter, or a product permission missing")
REASON(MERCHANT_UNAUTHORIZED, "merchant_unauthorized", true, OPERATOR,
       "401 after a second signature, and hold_unauthorized_ms is over",
       "check the merchant's key, serial_no and the clock, then send the event again")
REASON(PAUSED, "paused", true, OPERATOR, "relief ended an event that `presignctl pause` holds",
       "end the pause with presignctl resume, then send the event again")
REASON(RATE_LIMITED, "rate_limited", true, WECHATPAY, "429 until the event's time was over",
       "lower the merchant's rate_per_s, then send the event again")
REASON(UNAVAILABLE, "unavailable", true, WECHATPAY,
       "5xx, 202, 408, 421, 425, a 1xx alone, or no answer after sending, until the last attempt",
       "send the event again later; 500 for days means a missing product permission or template")
REASON(UNREACHABLE, "unreachable", true, WECHATPAY,
       "never sent: DNS, connect or TLS failed until the last attempt",
       "check the network, DNS and ca_file, then send the event again")
REASON(UNVERIFIED_ANSWER, "unverified_answer", true, OPERATOR,
       "the answers cannot be trusted or lack a required field, until the last attempt; or no key "
       "has verified the merchant's answers for hold_unauthorized_ms",
       "read `message`; where it names signature, serial or time: check WeChat Pay's public key or "
       "certificates, and the clock; then send the event again")
REASON(UNEXPECTED_ANSWER, "unexpected_answer", false, WECHATPAY,
       "an answer outside the API's rules",
       "check base_url and what is between presignd and WeChat Pay")
#undef REASON
