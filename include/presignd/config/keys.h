/* The keys of the configuration, one row each: the field in config.h, parsing, default, range,
 * sample and manual come from it. Included with the macros defined; removes them at its end.
 *
 *   TEXT(SECTION, KEY, TYPE, DEFAULT, CHANGE, HELP)
 *   NUMBER(SECTION, KEY, UNIT, DEFAULT, MIN, MAX, CHANGE, HELP)
 *   FLAG(SECTION, FIELD, "KEY", TYPE, DEFAULT, CHANGE, HELP)
 *   EXAMPLE and CHOICE: as TEXT and FLAG, without a default; the text is an example for the sample
 *   ARGUMENT(SECTION, FIELD): no key, but what follows the section's name in its heading
 *
 * CHANGE says what a change of the value needs: RELOAD, RESTART, or REQUIRED: a reload, and the
 * value must not be empty. HELP is the comment in the sample and in the manual.
 */
SECTION(daemon)
TEXT(daemon, instance, instance, "presignd-%H", RESTART,
     "Unique, stable name of this process: transactional.id and group.instance.id come from it. "
     "%H is this host's name, %% a percent sign.")
FLAG(daemon, at_least_once, "delivery", delivery, "exactly_once", RESTART,
     "How often an outcome is published: exactly_once | at_least_once. The second is for brokers "
     "without transactions: a crash may publish an outcome again.")
TEXT(daemon, requests_topic, topic, "presign.requests", RESTART, "Topic of the request events.")
TEXT(daemon, results_topic, topic, "presign.results", RESTART,
     "Topic for results: verified answers.")
TEXT(daemon, failures_topic, topic, "presign.failures", RESTART,
     "Topic for failures: events that end without a verified answer.")
TEXT(daemon, schema_dir, paths, "/etc/presignd/schemas:/usr/share/presignd/schemas", RELOAD,
     "Directories of the JSON Schemas, searched in this order. A missing one is skipped.")
NUMBER(daemon, max_event_bytes, BYTES, "65536", 64, 1048576, RELOAD,
       "Largest event: key, value and all headers together.")
NUMBER(daemon, max_event_age_ms, MS, "0", 0, 3650 * DAY_MS, RELOAD,
       "Maximum age of an event, by its record's timestamp. Older ones end as expired. "
       "0 disables this limit.")
NUMBER(daemon, max_in_flight, COUNT, "512", 1, 65536, RELOAD,
       "Limit of calls in flight of all merchants. endpoint.max_connections limits them as well.")
NUMBER(daemon, sign_threads, COUNT, "0", 0, 256, RELOAD,
       "Threads that sign requests. 0 starts one for each core.")
FLAG(daemon, sign_process, "sign_process", flag, "yes", RESTART,
     "Whether private keys live in a process of their own, which signs and does nothing else. no: "
     "in this one.")
TEXT(daemon, sign_backend, sign_backend, "auto", RESTART,
     "What signs requests and verifies answers: auto | openssl | crypto_mb. crypto_mb is Intel's "
     "libcrypto_mb, which does eight at once; without it, the start fails. auto uses it where it "
     "can be used.")
NUMBER(daemon, commit_interval_ms, MS, "5", 0, 60000, RELOAD,
       "Minimum time between the starts of two transactions.")
NUMBER(daemon, drain_timeout_ms, MS, "20000", 0, 3600000, RELOAD,
       "Time for calls in flight to finish at a stop. The next start repeats unfinished ones.")
NUMBER(
    daemon, slo_ms, MS, "10000", 10, 600000, RELOAD,
    "An outcome that is visible later than this after its record's timestamp is late: metrics and "
    "alerts count it.")
TEXT(daemon, admin_listen, listen, "127.0.0.1:9464", RELOAD,
     "Listener for metrics, health and status. A unix: socket has mode 0660. Empty disables it.")
TEXT(daemon, control_socket, control_socket, "auto", RELOAD,
     "Unix socket of presignctl's levers, mode 0600. auto: control.sock in systemd's "
     "RuntimeDirectory=, else none. A path, or empty: none.")
TEXT(daemon, state_dir, state_dir, "auto", RESTART,
     "Directory of what survives a restart. auto: systemd's StateDirectory=, else none. A path, or "
     "empty: none. All its files may be deleted.")
FLAG(daemon, failure_original, "failure_original", flag, "true", RELOAD,
     "Whether a failure record holds its request record, so that it can be sent again.")
END;

SECTION(endpoint)
TEXT(endpoint, base_url, url, "https://api.mch.weixin.qq.com", REQUIRED,
     "Base URL of the API, without a path. http is allowed only for a loopback host.")
TEXT(endpoint, backup_url, url, "https://api2.mch.weixin.qq.com", RELOAD,
     "Fallback host while base_url is unreachable. If empty, or if only base_url is set: none.")
TEXT(endpoint, ca_file, path, "", RELOAD,
     "PEM file of trusted certificate authorities. Empty selects the system's trust store.")
TEXT(endpoint, proxy, proxy, "", RELOAD,
     "HTTP or SOCKS proxy for calls, as http://HOST:PORT. Empty: no proxy.")
TEXT(endpoint, proxy_ca_file, path, "", RELOAD,
     "PEM file of the authorities trusted for an https proxy. Empty: the system's trust store.")
NUMBER(endpoint, connect_timeout_ms, MS, "3000", 1, 600000, RELOAD,
       "Timeout of a connection's name lookup, TCP and TLS together.")
NUMBER(endpoint, timeout_ms, MS, "10000", 1, 600000, RELOAD, "Timeout of a whole call.")
NUMBER(endpoint, max_connections, COUNT, "128", 1, 16384, RELOAD,
       "Limit of connections, all hosts together. Each call in flight needs one.")
END;

SECTION(retry)
NUMBER(retry, max_attempts, COUNT, "6", 1, 1000, RELOAD,
       "Limit of calls for one event, the first included.")
NUMBER(retry, base_delay_ms, MS, "200", 1, 3600000, RELOAD,
       "Delay before the second attempt, doubled for each later one. Not above max_delay_ms; "
       "the default is lowered to it.")
NUMBER(retry, max_delay_ms, MS, "30000", 1, DAY_MS, RELOAD,
       "Longest delay between attempts, unless Retry-After asks for more.")
NUMBER(retry, give_up_after_ms, MS, "600000", 1, 7 * DAY_MS, RELOAD,
       "Maximum time for an event's attempts, from the first one in this process.")
NUMBER(retry, hold_unauthorized_ms, MS, "600000", 0, 7 * DAY_MS, RELOAD,
       "How long a merchant's events wait after 401, after unverifiable answers, or without a key "
       "that verifies answers. 0: they fail at once, without a key after a minute.")
END;

SECTION(merchant)
ARGUMENT(merchant, mchid)
CHOICE(merchant, partner, "mode", mode, "direct", REQUIRED,
       "Whose endpoints this merchant id may call: direct | partner.")
FLAG(merchant, is_default, "default", flag, "no", RELOAD,
     "Whether this merchant signs events of its mode that name no merchant.")
TEXT(merchant, certificate, path, "", RELOAD,
     "PEM file of the merchant API certificate (apiclient_cert.pem). It gives serial_no and proves "
     "that private_key belongs to it.")
EXAMPLE(merchant, serial_no, serial, "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB", RELOAD,
        "Serial number of the merchant API certificate, hexadecimal. Needed without certificate; "
        "given both, they must agree.")
EXAMPLE(merchant, private_key, private_key, "@merchant-1900007291.pem", REQUIRED,
        "PEM file with the key of the merchant API certificate (apiclient_key.pem).")
EXAMPLE(merchant, wechatpay_public_key_id, key_id, "PUB_KEY_ID_0114232134912410000000000000",
        RELOAD, "Id of the WeChat Pay public key. Optional with platform certificates.")
EXAMPLE(merchant, wechatpay_public_key, path, "@wechatpay-1900007291.pem", RELOAD,
        "PEM file with the WeChat Pay public key of that id.")
TEXT(merchant, apiv3_key, apiv3_key, "", RELOAD,
     "File with the 32-byte APIv3 key. It opens the certificates of platform_certificates = auto.")
TEXT(merchant, platform_certificates, certificates, "off", RELOAD,
     "Certificates that answers are verified with: off | auto (downloaded and kept fresh) | paths "
     "of PEM files, comma separated.")
NUMBER(merchant, max_in_flight, COUNT, "256", 1, 65536, RELOAD,
       "Limit of this merchant's calls in flight.")
NUMBER(merchant, rate_per_s, PER_S, "0", 0, 100000, RELOAD,
       "Limit of this merchant's calls per second. 0 disables it.")
END;

#undef SECTION
#undef ARGUMENT
#undef TEXT
#undef EXAMPLE
#undef NUMBER
#undef FLAG
#undef CHOICE
#undef END
