"""The audit of calls, with one thing planted in each test: a check that cannot fail shows nothing."""

import copy
import hashlib
import unittest

from calls_audit import KINDS, Bounds, CallsAudit, Expected, Kill, body_sha256

DATA = {"plan_id": 1, "out_contract_code": "A1", "contract_display_account": "用户"}
BODY = body_sha256(DATA)
SECOND = body_sha256({**DATA, "contract_display_account": "another"})


def call(number=1, **changes):
    """A line of the ledger, of a call that was answered well."""
    return {"time": f"2026-01-01T00:00:{number:02}.000Z", "mchid": "1", "out_contract_code": "A1",
            "body_sha256": BODY, "nonce": f"n{number}", "signature_ok": True, "status": 200,
            "acted": True, "issued_id": f"id{number}", "publishable": True, **changes}


def result(issued="id1"):
    return {"data": {"pre_entrustweb_id": issued}}


class Planted(unittest.TestCase):
    def setUp(self):
        self.expected = [Expected("t/0/7", "A1", BODY)]
        self.outcomes = [("t/0/7", result())]
        self.ledger = [call()]
        self.bounds = Bounds()
        self.kills = []

    def assert_found(self, *kinds):
        audit = CallsAudit(self.expected, self.outcomes, copy.deepcopy(self.ledger), self.bounds, self.kills)
        self.assertEqual({kind for kind, texts in audit.problems.items() if texts}, set(kinds), audit.summary())
        self.assertEqual(audit.passed, not kinds)
        for kind in kinds:
            self.assertIn(kind, audit.summary())
        return audit

    def test_nothing(self):
        self.assertEqual(self.assert_found().repeated, 0)

    def test_the_body_is_told_by_its_bytes(self):
        """As sent: members in their order, no white space, characters as they are."""
        text = '{"plan_id":1,"out_contract_code":"A1","contract_display_account":"用户"}'
        self.assertEqual(BODY, hashlib.sha256(text.encode()).hexdigest())
        self.assertNotEqual(BODY, body_sha256(dict(reversed(DATA.items()))))

    def test_faulty_answers_before_the_good_one(self):
        self.ledger = [call(1, publishable=False, status=503, acted=False, issued_id=None),
                       call(2, publishable=False, fault="unsigned"), call(3)]
        self.outcomes = [("t/0/7", result("id3"))]
        self.assert_found()

    def test_an_id_that_nobody_issued(self):
        self.outcomes = [("t/0/7", result("id9"))]
        self.assert_found("not issued")

    def test_an_id_of_another_event(self):
        self.expected.append(Expected("t/0/8", "B1", SECOND))
        self.ledger.append(call(2, out_contract_code="B1", body_sha256=SECOND))
        self.outcomes = [("t/0/7", result("id2")), ("t/0/8", result("id2"))]
        self.assert_found("not issued", "published twice")

    def test_an_id_of_the_same_code_but_another_event(self):
        self.expected.append(Expected("t/0/8", "A1", SECOND))
        self.ledger.append(call(2, body_sha256=SECOND))
        self.outcomes = [("t/0/7", result("id2")), ("t/0/8", result("id1"))]
        self.assert_found("not issued")

    def test_an_id_from_an_answer_that_does_not_verify(self):
        self.ledger = [call(publishable=False, fault="bad-signature")]
        self.assert_found("unverified")

    def test_other_bytes(self):
        self.ledger.append(call(2, body_sha256=SECOND))
        self.bounds = Bounds(disturbances=1, unfinished=1)
        self.assert_found("other bytes")

    def test_the_bytes_of_another_codes_event(self):
        self.ledger = [call(1), call(2, out_contract_code="B1")]
        self.bounds = Bounds(disturbances=1, unfinished=1)
        self.assert_found("other bytes")

    def test_a_nonce_that_comes_again(self):
        self.ledger = [call(1), call(2, nonce="n1")]
        self.bounds = Bounds(disturbances=1, unfinished=1)
        self.assert_found("stale nonce")

    def test_another_merchants_nonce_is_its_own(self):
        self.ledger = [call(1), call(2, nonce="n1", mchid="2")]
        self.bounds = Bounds(disturbances=1, unfinished=1)
        self.assert_found()

    def test_no_nonce(self):
        del self.ledger[0]["nonce"]
        self.assert_found("stale nonce")

    def test_a_request_that_is_wrong(self):
        self.ledger.insert(0, call(2, issue="body does not match", publishable=False, issued_id=None))
        self.assert_found("refused")

    def test_a_signature_that_is_wrong(self):
        self.ledger.insert(0, call(2, signature_ok=False, publishable=False, issued_id=None))
        self.assert_found("refused")

    def test_a_time_stamp_is_wrong_only_with_a_clock_that_is(self):
        self.ledger.insert(0, call(2, issue="is more than 5 minutes off", signature_ok=False,
                                   publishable=False, issued_id=None))
        self.assert_found("refused")
        self.bounds = Bounds(off_clocks=True)
        self.assert_found()

    def test_a_call_of_a_bad_event(self):
        self.expected[0] = Expected("t/0/7", "A1", BODY, ["invalid_request"])
        self.outcomes = [("t/0/7", {"data": {"reason": "invalid_request"}})]
        self.assert_found("uncalled for")

    def test_a_failure_where_a_result_was_earned(self):
        self.outcomes = [("t/0/7", {"data": {"reason": "unavailable"}})]
        self.assert_found("wrong ending")

    def test_a_failure_of_another_reason(self):
        self.expected[0] = Expected("t/0/7", "A1", BODY, ["expired"])
        self.ledger = []
        self.outcomes = [("t/0/7", {"data": {"reason": "invalid_json"}})]
        self.assert_found("wrong ending")

    def test_a_call_after_a_good_answer(self):
        self.ledger.append(call(2))
        self.assert_found("called again", "too many calls")
        self.bounds = Bounds(disturbances=1, unfinished=1)
        self.assertEqual(self.assert_found().repeated, 1)

    def test_more_calls_than_were_unfinished(self):
        self.expected.append(Expected("t/0/8", "B1", SECOND))
        second = {"out_contract_code": "B1", "body_sha256": SECOND}
        self.ledger += [call(2), call(3, **second), call(4, **second)]
        self.outcomes.append(("t/0/8", result("id3")))
        self.bounds = Bounds(disturbances=1, unfinished=1)
        self.assert_found("too many calls")

    def test_what_a_kill_made_repeat(self):
        """Only of its partitions, only what was answered well before it and called after it."""
        self.expected.append(Expected("t/1/8", "B1", SECOND))
        second = {"out_contract_code": "B1", "body_sha256": SECOND}
        self.ledger = [call(1), call(2, **second), call(5), call(6, **second)]
        self.outcomes.append(("t/1/8", result("id6")))
        self.bounds = Bounds(disturbances=2, unfinished=1)
        at_ms = 1767225600000 + 3000
        self.kills = [Kill(at_ms, "presignd-1", [0], 1, 0), Kill(at_ms + 4000, "presignd-1", [0, 1], 1, 0)]
        self.assert_found()
        self.assertEqual([kill.repeated for kill in self.kills], [1, 0])
        self.kills = [Kill(at_ms, "presignd-1", [0, 1], 1, 0)]
        self.assert_found()
        self.kills[0].alone = True
        self.assert_found("beyond the kill")
        self.kills[0].since_ms = at_ms - 1500  # the first event's call was before that
        self.assert_found()
        self.assertEqual(self.kills[0].repeated, 1)

    def test_sessions_of_one_code_that_were_opened_in_another_order(self):
        self.expected.append(Expected("t/0/8", "A1", SECOND))
        self.ledger = [call(1, body_sha256=SECOND), call(2)]
        self.outcomes = [("t/0/7", result("id2")), ("t/0/8", result("id1"))]
        self.assert_found("out of order")
        self.bounds = Bounds(ordered=False)
        self.assert_found()

    def test_every_kind_is_planted_here(self):
        """A new kind of problem needs a test that finds it."""
        with open(__file__, encoding="utf-8") as file:
            source = file.read()
        self.assertEqual([kind for kind in KINDS if f'"{kind}"' not in source], [])


if __name__ == "__main__":
    unittest.main()
