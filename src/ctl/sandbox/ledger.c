#include "ctl/sandbox/sandbox.h"
#include "presignd/base/text.h"

#include <errno.h>
#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

static void add_sha256(struct buf *line, const char *bytes, size_t len)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char hex[2 * sizeof digest + 1];
    (void)SHA256((const unsigned char *)bytes, len, digest);
    text_hex(hex, digest, sizeof digest);
    buf_json_member(line, "body_sha256", hex);
}

static void describe_request(const struct sandbox_entry *entry, struct buf *line)
{
    const struct sandbox_verdict *verdict = entry->verdict;
    const struct sandbox_request *request = entry->request;
    char time[TEXT_TIME_SIZE];
    text_time(time, entry->wall_ms, true);
    buf_json_member(line, "time", time);
    buf_json_member(line, "mchid", verdict->merchant == NULL ? NULL : verdict->merchant->mchid);
    buf_json_member(line, "endpoint",
                    verdict->certificates       ? "certificates"
                    : verdict->endpoint == NULL ? NULL
                                                : verdict->endpoint->name);
    buf_json_member(line, "out_contract_code", text_or_null(verdict->out_contract_code));
    add_sha256(line, request->body, request->body_len);
    buf_json_member(line, "nonce", text_or_null(verdict->nonce));
    if (verdict->timestamp_s != 0) {
        buf_json_member_int(line, "timestamp", verdict->timestamp_s);
    }
    buf_json_member_bool(line, "signature_ok", verdict->signature_ok);
    buf_json_member(line, "asked_serial", verdict->asked_serial);
}

bool sandbox_ledger_write(int fd, const struct sandbox_entry *entry)
{
    AUTO_BUF struct buf line = {0};
    const struct sandbox_reply *reply = entry->reply;
    buf_putc(&line, '{');
    describe_request(entry, &line);
    buf_json_member_int(&line, "status", reply->reset ? 0 : (int64_t)reply->status);
    buf_json_member(&line, "serial", reply->serial);
    buf_json_member(&line, "fault", entry->fault.kind == NULL ? NULL : entry->fault.kind->name);
    buf_json_member(&line, "issue", entry->verdict->issue);
    buf_json_member_bool(&line, "acted", *reply->issued_id != '\0');
    buf_json_member(&line, "issued_id", text_or_null(reply->issued_id));
    buf_json_member_bool(&line, "publishable", reply->publishable);
    buf_json_member(&line, "request_id", reply->request_id);
    buf_puts(&line, "}\n");
    ssize_t written = write(fd, line.data, line.len);
    if (written >= 0 && (size_t)written != line.len) {
        errno = ENOSPC;
    }
    return written >= 0 && (size_t)written == line.len;
}
