#include "presignd/sign/permit.h"

#include "presignd/base/buf.h"
#include "presignd/base/mem.h"
#include "presignd/sign/sign.h"
#include "presignd/wechatpay/caller.h"
#include "presignd/wechatpay/endpoint.h"

#include <criterion/criterion.h>
#include <string.h>

#define PATH  "/v3/papay/scheduled-deduct-sign/contracts/pre-entrust-sign/app"
#define TIME  "1554208460"
#define NONCE "593BEC0C930BF1AFEB40B4A08C8FB242"

static bool permitted(const char *message)
{
    return sign_is_permitted(message, strlen(message), endpoint_may_post);
}

Test(permit, what_the_caller_signs_may_be_signed)
{
    size_t count;
    const struct endpoint *rows = endpoint_table(&count);
    char nonce[SIGN_NONCE_LENGTH + 1];
    for (size_t i = 0; i < count; i++) {
        AUTO_BUF struct buf message = {0};
        sign_nonce(nonce);
        sign_message(&message, "POST", rows[i].path, 1554208460, nonce, "{}", 2);
        cr_assert(permitted(message.data), "%s", rows[i].path);
    }
    AUTO_BUF struct buf message = {0};
    sign_message(&message, "GET", CERTIFICATES_PATH, 1554208460, nonce, "", 0);
    cr_assert(permitted(message.data));
    cr_assert_str_eq(CERTIFICATES_PATH, SIGN_GET_PATH);
}

Test(permit, any_bytes_may_be_a_body)
{
    static const char body[] = "POST\n" PATH "\n" TIME "\n" NONCE "\na\n\0b\r\n\xff\n";
    cr_assert(sign_is_permitted(body, sizeof body - 1, endpoint_may_post));
}

/* Each but for one part as it should be. */
static const char *const refused[] = {
    "",
    "\n",
    "\n\n\n\n\n",
    "POST",
    "POST\n" PATH "\n" TIME "\n" NONCE "\n{}",
    "POST\n" PATH "\n" TIME "\n" NONCE "\n",
    "POST\n" PATH "\n" TIME "\n" NONCE,
    "POST\n" PATH "\n" TIME "\n" NONCE "\n\n",
    /* the method */
    "GET\n" PATH "\n" TIME "\n" NONCE "\n\n",
    "GET\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "PUT\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "DELETE\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "post\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    " POST\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "POST \n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "POST\r\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    /* the path */
    "POST\n/v3/refund/domestic/refunds\n" TIME "\n" NONCE "\n{}\n",
    "POST\n/v3/transfer/batches\n" TIME "\n" NONCE "\n{}\n",
    "POST\n/v3/fund-app/mch-transfer/transfer-bills\n" TIME "\n" NONCE "\n{}\n",
    "POST\n/v3/pay/transactions/jsapi\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "/\n" TIME "\n" NONCE "\n{}\n",
    "POST\n/" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "?a=b\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "#\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "/../../../refund/domestic/refunds\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "%2e\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "s\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH " \n" TIME "\n" NONCE "\n{}\n",
    "POST\n" PATH "\r\n" TIME "\n" NONCE "\n{}\n",
    "POST\nhttps://api.mch.weixin.qq.com" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "POST\n" SIGN_GET_PATH "\n" TIME "\n" NONCE "\n{}\n",
    "POST\n\n" TIME "\n" NONCE "\n{}\n",
    "GET\n" SIGN_GET_PATH "\n" TIME "\n" NONCE "\n{}\n",
    "GET\n" SIGN_GET_PATH "?\n" TIME "\n" NONCE "\n\n",
    "GET\n" SIGN_GET_PATH "/\n" TIME "\n" NONCE "\n\n",
    "GET\n/v3/refund/domestic/refunds/1\n" TIME "\n" NONCE "\n\n",
    /* the timestamp */
    "POST\n" PATH "\n\n" NONCE "\n{}\n",
    "POST\n" PATH "\n155420846\n" NONCE "\n{}\n",
    "POST\n" PATH "\n01554208460\n" NONCE "\n{}\n",
    "POST\n" PATH "\n-554208460\n" NONCE "\n{}\n",
    "POST\n" PATH "\n 554208460\n" NONCE "\n{}\n",
    "POST\n" PATH "\n155420846x\n" NONCE "\n{}\n",
    /* the nonce */
    "POST\n" PATH "\n" TIME "\n\n{}\n",
    "POST\n" PATH "\n" TIME "\n" NONCE "0\n{}\n",
    "POST\n" PATH "\n" TIME "\n593BEC0C930BF1AFEB40B4A08C8FB24\n{}\n",
    "POST\n" PATH "\n" TIME "\n593bec0c930bf1afeb40b4a08c8fb242\n{}\n",
    "POST\n" PATH "\n" TIME "\n593BEC0C930BF1AFEB40B4A08C8FB24\r\n{}\n",
    /* another request's lines, pushed down */
    "\nPOST\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    "POST\n/v3/transfer/batches\nPOST\n" PATH "\n" TIME "\n" NONCE "\n{}\n",
    /* what other signatures of APIv3 cover: an answer, the parameters of a payment page */
    TIME "\n" NONCE "\n{}\n",
    "wx8888888888888888\n" TIME "\n" NONCE "\nprepay_id=1\n",
};

Test(permit, everything_else_is_refused)
{
    cr_assert(permitted("POST\n" PATH "\n" TIME "\n" NONCE "\n{}\n"));
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        cr_assert_not(permitted(refused[i]), "%zu: %s", i, refused[i]);
    }
    static const char nul[] = "POST\n" PATH "\0\n" TIME "\n" NONCE "\n{}\n";
    cr_assert_not(sign_is_permitted(nul, sizeof nul - 1, endpoint_may_post));
}

/* Every string of which one byte differs from a permitted one is refused, but in the body and where
 * the result is a permitted timestamp or nonce. */
Test(permit, a_changed_byte_outside_the_body_is_refused)
{
    char message[] = "POST\n" PATH "\n" TIME "\n" NONCE "\n{}\n";
    size_t timestamp = strlen("POST\n" PATH "\n"), body = strlen(message) - strlen("{}\n");
    for (size_t at = 0; at < body; at++) {
        char kept = message[at];
        bool digit = kept >= '0' && kept <= '9', letter = kept >= 'A' && kept <= 'Z';
        for (int byte = 0; byte < 256; byte++) {
            bool to_digit = byte >= '0' && byte <= '9', to_letter = byte >= 'A' && byte <= 'Z';
            bool in_time = at >= timestamp && at < timestamp + strlen(TIME);
            bool in_nonce = at > timestamp + strlen(TIME) && at < body - 1;
            message[at] = (char)byte;
            bool fine = message[at] == kept || (in_time && digit && to_digit) ||
                        (in_nonce && (digit || letter) && (to_digit || to_letter));
            cr_assert_eq(sign_is_permitted(message,
                                           strlen("POST\n" PATH "\n" TIME "\n" NONCE "\n{}\n"),
                                           endpoint_may_post),
                         fine, "byte %zu: %d", at, byte);
        }
        message[at] = kept;
    }
}
