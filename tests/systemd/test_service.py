"""presignd.service under a real systemd: what an operator does to it and sees of it."""

import unittest

from machine import Cluster, Machine, World, event, test_main, wait_until

DIRECT = "1900007291"


def setUpModule():
    global machine, kafka
    kafka = Cluster().start()
    unittest.addModuleCleanup(kafka.close)
    machine = unittest.enterModuleContext(Machine())
    machine.install()


class Service(unittest.TestCase):
    """A World of its own for each test: other topics, another group, another sandbox."""

    options = ()
    sections = None

    def setUp(self):
        self.world = self.enterContext(World(partitions=2, kafka=kafka))
        self.world.start_sandbox(options=["--fault-by-code", *self.options])
        machine.configure(self.world, self.sections)
        self.addCleanup(machine.systemctl, "reset-failed", "presignd", check=False)
        self.addCleanup(machine.systemctl, "stop", "presignd")
        self.cursor = [f"--after-cursor={machine.cursor()}"]

    def doCleanups(self):
        if self._outcome is not None and not self._outcome.success:
            machine.show_journal()
        return super().doCleanups()

    def produce(self, *codes):
        return self.world.produce(event("app", code, mchid=DIRECT) for code in codes)

    def results(self, ids):
        outcomes = self.world.wait_for_outcomes(ids)
        self.assertEqual({outcome.reason for outcome in outcomes.values()}, {None})
        return outcomes


class Start(Service):
    def test_it_is_ready_and_works(self):
        machine.systemctl("start", "presignd")
        self.assertEqual(machine.show("presignd", "ActiveState"), "active")
        self.results(self.produce("A1"))
        self.assertRegex(machine.show("presignd", "StatusText"), "2 partitions")


if __name__ == "__main__":
    test_main()
