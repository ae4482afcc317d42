"""The faults that a run may meet: each begins, and most end by themselves after a while.

A fault says nothing about right and wrong; it counts how often unfinished events may have been
lost by it (`disturbances`), for the bound on repeated calls.
"""

import signal
import time

from confluent_kafka.admin import ConfigResource

import auditor
import kafka_requests
from harness import wait_until
from load import ENDPOINTS

SESSION_TIMEOUT_S = 6
MAX_MESSAGE_BYTES = 1048588  # Kafka's default
UNDO_LIMIT_S = 120
MERCHANTS = tuple(mchid for _, mchid in ENDPOINTS)


class Fault:
    """`weight`: how often it is drawn, against the others."""

    def __init__(self, weight, begin):
        self.weight, self.begin = weight, begin


class Active:
    """One that is on: `until` (monotonic) and how it ends."""

    def __init__(self, name, until, end):
        self.name, self.until, self.end = name, until, end


class Faults:
    """Begins and ends them for a run. `begin()` is False when a fault cannot be had just now,
    as when no daemon is left to be killed."""

    def __init__(self, run, rng):
        self.run, self.rng = run, rng
        self.active = []
        self.late = []  # undoes what a broker that was asked in vain may still do when it wakes
        self._asked = 0
        self.changed = time.monotonic()  # when the last one began or ended

    def begin(self, name):
        ended = None if self.is_on("kill-alone") else FAULTS[name].begin(self)
        if ended is None:
            return False
        self.changed = time.monotonic()
        self.run.counts[name] += 1
        seconds, end = ended
        if end:
            self.active.append(Active(name, time.monotonic() + seconds, end))
        return True

    def end_due(self, everything=False):
        for each in sorted(self.active, key=lambda each: each.until):
            if everything or each.until <= time.monotonic():
                self.active.remove(each)
                self.changed = time.monotonic()
                self.run.say(f"end of {each.name}")
                each.end()

    def end_all(self):
        self.end_due(everything=True)
        while self.late:
            self.late.pop()()

    # ---- what faults need

    def pick(self):
        """An instance that nothing is done to at the moment; None when there is none."""
        run = self.run
        ready = sorted(name for name, daemon in run.daemons.items() if daemon.running and name not in run.off)
        return self.rng.choice(ready) if ready else None

    def pick_node(self):
        """The index of a broker, while all of them are well."""
        if self.is_on(*BROKERS):
            return None
        return self.rng.randrange(len(self.run.kafka.nodes))

    def is_on(self, *names):
        return any(each.name in names for each in self.active)

    def some_port(self):
        """Of one broker after the other: one that was just started, or is stopped, does not answer."""
        self._asked += 1
        nodes = self.run.kafka.nodes
        return nodes[self._asked % len(nodes)].port

    def disturb(self, times=1):
        """All unfinished events of one instance may be lost, `times` times."""
        self.run.disturbances += times

    def all_instances(self):
        return len(self.run.daemons)


DONE = (0, None)
BROKERS = ("broker-kill", "broker-stop", "coordinator-stop", "kafka-gone")
ENDPOINT = ("endpoint-down", "endpoint-minute", "endpoint-hangs", "hold")
# Before and after a SIGKILL that is measured: longer than a rebalance's round.
CALM_S = 4


def sigkill(faults, alone_since_ms=None):
    run, instance = faults.run, faults.pick()
    if instance is None:
        return None
    began = time.monotonic()
    kill = run.kill(instance)
    run.say(f"SIGKILL {instance}, {kill.in_air} in flight, {kill.unpublished} unpublished, "
            f"partitions {sorted(kill.partitions)}")
    faults.disturb()
    run.start(instance)
    if alone_since_ms and kill.partitions:
        kill.alone, kill.since_ms = True, alone_since_ms
        if kill.in_air + kill.unpublished:  # else its first outcome waits for the load
            run.awaited.append((kill, began))
    return DONE


def kill_alone(faults):
    """SIGKILL and restart while nothing else is the matter, to be measured: how long until an
    outcome of its partitions is there, and how many calls are repeated. The group has been
    stable for a while: what a rebalance made repeat is over by then."""
    run = faults.run
    idle = run.seen >= run.feeder.sent and not run.feeder.is_alive()
    calm_s = time.monotonic() - max(faults.changed, run.unstable)
    if faults.active or run.off or not run.is_stable() or (calm_s < CALM_S and not idle):
        return None
    since_ms = (time.time() - calm_s) * 1000
    if sigkill(faults, None if idle else since_ms) is None:
        return None
    return CALM_S, lambda: None


def away(faults):
    """SIGKILL, and nobody starts it for longer than its session lasts."""
    run, instance = faults.run, faults.pick()
    if instance is None or len(run.daemons) - len(run.off) < 2:
        return None
    kill = run.kill(instance)
    run.say(f"SIGKILL {instance} to stay away, {kill.in_air} in flight")
    run.off[instance] = "away"
    faults.disturb(2 * faults.all_instances())

    def back():
        del run.off[instance]
        run.start(instance)
    return SESSION_TIMEOUT_S + faults.rng.uniform(1, 3), back


def sigstop(faults):
    """Beyond the session's time-out, sometimes beyond the transaction's, too."""
    run, instance = faults.run, faults.pick()
    if instance is None or len(run.daemons) - len(run.off) < 2:
        return None
    seconds = SESSION_TIMEOUT_S + faults.rng.choice((0.5, 2, 3, 6, 9))
    run.say(f"SIGSTOP {instance} for {seconds} s")
    run.daemons[instance].suspend()
    run.off[instance] = "stopped"
    faults.disturb(2 * faults.all_instances())

    def resume():
        run.off.pop(instance, None)
        run.daemons[instance].resume()
    return seconds, resume


def pause(faults):
    """SIGSTOP within the session's time."""
    run, instance = faults.run, faults.pick()
    if instance is None:
        return None
    run.say(f"SIGSTOP {instance}, shortly")
    run.daemons[instance].suspend()
    run.off[instance] = "stopped"
    faults.disturb()

    def resume():
        run.off.pop(instance, None)
        run.daemons[instance].resume()
    return faults.rng.uniform(0.2, 4), resume


def sigterm(faults):
    run, instance = faults.run, faults.pick()
    if instance is None or not run.takes_signals(instance):
        return None
    run.say(f"SIGTERM {instance}")
    run.off[instance] = "ending"  # started again when it has ended
    run.daemons[instance].signal(signal.SIGTERM)
    faults.disturb(2)
    return DONE


def sighup(faults):
    """A reload: of other limits, or of a configuration that is refused."""
    run, instance = faults.run, faults.pick()
    if instance is None or not run.takes_signals(instance):
        return None
    good = faults.rng.random() < 0.7
    change = {"max_in_flight": faults.rng.choice((8, 16, run.plan.max_in_flight))} if good else {
        "max_in_flight": "many"}
    run.say(f"SIGHUP {instance} with {change}")
    run.world.write_config(instance, run.sections(instance, **change))
    run.daemons[instance].signal(signal.SIGHUP)

    def back():
        run.world.write_config(instance, run.sections(instance))
        daemon = run.daemons[instance]
        if instance not in run.off:
            wait_until(lambda: not daemon.running or run.takes_signals(instance), f"{instance} to listen")
            daemon.signal(signal.SIGHUP)
    return faults.rng.uniform(1, 3), back


def scale(faults):
    """One more instance for a while, which then goes for good."""
    run = faults.run
    if faults.is_on("scale"):
        return None
    instance = "presignd-extra"
    run.say(f"one more: {instance}")
    faults.disturb(3 * (faults.all_instances() + 1))
    run.set_clock(instance, 0)
    run.start(instance)
    run.off[instance] = "extra"

    def leave():
        daemon = run.daemons.pop(instance)
        run.off.pop(instance, None)
        if daemon.running:
            status = daemon.terminate()
            if status != 0:
                run.problem(f"{instance} stopped with status {status}")
    return faults.rng.uniform(4, 10), leave


def broker_kill(faults):
    run, node = faults.run, faults.pick_node()
    if node is None:
        return None
    run.say(f"SIGKILL broker {node + 1}")
    run.kafka.kill(node)
    faults.disturb(2 * faults.all_instances())
    return faults.rng.uniform(1, 6), lambda: run.kafka.start_node(node)


def broker_stop(faults):
    run, node = faults.run, faults.pick_node()
    if node is None:
        return None
    run.say(f"SIGSTOP broker {node + 1}")
    run.kafka.suspend(node)
    faults.disturb(2 * faults.all_instances())
    return faults.rng.uniform(2, 12), lambda: run.kafka.resume(node)


def group_partition(group, count):
    """Of `__consumer_offsets`, as brokers choose it (String.hashCode)."""
    number = 0
    for byte in group.encode("utf-16-be")[1::2]:  # of names in ASCII
        number = (31 * number + byte) & 0xFFFFFFFF
    return (number & 0x7FFFFFFF) % count


def coordinator_stop(faults):
    """The group's coordinator stands still for longer than a session, and goes on with the requests
    that have waited: an old join of ours may then fence our new member."""
    run = faults.run
    if faults.pick_node() is None:
        return None
    try:
        known = run.kafka.admin().list_topics("__consumer_offsets", timeout=3).topics["__consumer_offsets"].partitions
        leader_id = known[group_partition(run.world.group, len(known))].leader
    except Exception as error:  # the brokers have other troubles at the moment
        run.say(f"coordinator: {error}")
        return None
    nodes = [index for index, node in enumerate(run.kafka.nodes) if node.node_id == leader_id]
    if not nodes:
        return None
    run.say(f"SIGSTOP broker {nodes[0] + 1}, the group's coordinator")
    run.kafka.suspend(nodes[0])
    faults.disturb(3 * faults.all_instances())
    return SESSION_TIMEOUT_S + faults.rng.uniform(1, 6), lambda: run.kafka.resume(nodes[0])


def kafka_gone(faults):
    run = faults.run
    if faults.pick_node() is None:
        return None
    run.say("SIGKILL every broker")
    run.kafka.kill()
    faults.disturb(2 * faults.all_instances())

    def back():
        for node in range(len(run.kafka.nodes)):
            run.kafka.start_node(node)
    return faults.rng.uniform(0.5, 3), back


def leader(faults):
    """Another replica leads a partition of one of the topics that matter."""
    run, rng = faults.run, faults.rng
    topic = rng.choice([*run.world.topics.values(), "__consumer_offsets", "__transaction_state"])
    try:
        known = run.kafka.admin().list_topics(topic, timeout=3).topics[topic].partitions
        partition = rng.choice(sorted(known))
        replicas = known[partition].replicas
        others = [node for node in replicas if node != known[partition].leader]
        order = [*rng.sample(others, len(others)), known[partition].leader]
        if known[partition].leader < 0:
            return None
        run.say(f"leader of {topic}/{partition}: {order[0]} for {known[partition].leader}")
        kafka_requests.move_leader(faults.some_port(), topic, partition, order)
    except Exception as error:  # the brokers have other troubles at the moment
        run.say(f"leader: {error}")
        return None
    faults.disturb(2 * faults.all_instances())
    return DONE


def endpoint_down(faults, seconds=None):
    run = faults.run
    if faults.is_on(*ENDPOINT):
        return None
    seconds = seconds or faults.rng.uniform(1, 8)
    run.say(f"endpoint down for {seconds:.1f} s")
    run.world.sandbox.kill()
    faults.disturb(2 * faults.all_instances())
    return seconds, run.start_sandbox


def endpoint_minute(faults):
    return endpoint_down(faults, 60)


def endpoint_hangs(faults):
    """It is stopped: connections stay, and what was sent is read, and acts, much later."""
    run = faults.run
    if faults.is_on(*ENDPOINT):
        return None
    run.say("endpoint hangs")
    run.world.sandbox.suspend()
    faults.disturb(4 * faults.all_instances())
    return faults.rng.uniform(2, 9), run.world.sandbox.resume


def hold(faults):
    """One merchant is answered 401, whatever it sends, and held; the other goes on. The sandbox is
    restarted for that, and once more at the end."""
    run = faults.run
    if faults.is_on(*ENDPOINT):
        return None
    mchid = faults.rng.choice(MERCHANTS)
    run.say(f"401 for merchant {mchid}")
    run.start_sandbox([f"401=1@{mchid}"])
    faults.disturb(2 * faults.all_instances())
    return faults.rng.uniform(2, 8), run.start_sandbox


def _limit(faults, topic, limit):
    resource = ConfigResource("topic", topic, set_config={"max.message.bytes": str(limit)})
    for future in faults.run.kafka.admin().alter_configs([resource], request_timeout=5).values():
        future.result(8)


def _until_done(faults, what, action):
    """Undoing must succeed, also while brokers come back: UNDO_LIMIT_S is for a busy machine."""
    deadline = time.monotonic() + UNDO_LIMIT_S
    while True:
        try:
            return action()
        except Exception as error:
            faults.run.say(f"{what}: {error}")
            if time.monotonic() > deadline:
                raise OSError(f"{what} was not possible in {UNDO_LIMIT_S} s") from error
            time.sleep(0.5)


def _ask(faults, what, action, end):
    try:
        action()
    except Exception as error:
        faults.run.say(f"{what}: {error}")
        faults.late.append(end)


def small(faults):
    """An output topic takes no record of the usual size any more."""
    run = faults.run
    if faults.is_on("small", "kafka-gone"):
        return None
    topic = run.world.topics[faults.rng.choice((auditor.RESULTS, auditor.FAILURES))]
    run.say(f"{topic} takes records of 500 bytes only")
    end = lambda: _until_done(faults, "max.message.bytes", lambda: _limit(faults, topic, MAX_MESSAGE_BYTES))
    _ask(faults, "small", lambda: _limit(faults, topic, 500), end)
    return faults.rng.uniform(1, 4), end


def denied(faults):
    run = faults.run
    if faults.is_on("denied", "kafka-gone"):
        return None
    topic = run.world.topics[faults.rng.choice((auditor.RESULTS, auditor.FAILURES))]
    run.say(f"no right to write to {topic}")
    end = lambda: _until_done(faults, "allow", lambda: kafka_requests.allow_all(faults.some_port(), topic))
    _ask(faults, "denied", lambda: kafka_requests.deny_write(faults.some_port(), topic, "presignd"), end)
    return faults.rng.uniform(1, 5), end


def late_topic(faults):
    """The failures topic does not exist when the daemons start."""
    run = faults.run
    topic = run.world.topics[auditor.FAILURES]
    run.kafka.admin().delete_topics([topic], operation_timeout=10)[topic].result(20)
    run.say(f"{topic} is not there")
    return faults.rng.uniform(2, 6), lambda: run.kafka.create_topic(topic, run.plan.partitions)


def clock(faults):
    """The wall clock of one daemon jumps: within the five minutes that are allowed between its
    clock and the endpoint's, or out of them."""
    run, instance = faults.run, "presignd-2"
    if instance not in run.daemons or faults.is_on("clock"):
        return None
    offset = faults.rng.choice((-900, -240, -60, 60, 240, 900))
    run.say(f"clock of {instance}: {offset:+d} s")
    run.set_clock(instance, offset)
    faults.disturb(2)
    return faults.rng.uniform(2, 6), lambda: run.set_clock(instance, 0)


FAULTS = {
    "sigkill": Fault(4, sigkill),
    "kill-alone": Fault(0, kill_alone),
    "away": Fault(1, away),
    "sigstop": Fault(3, sigstop),
    "pause": Fault(2, pause),
    "sigterm": Fault(2, sigterm),
    "sighup": Fault(2, sighup),
    "scale": Fault(1, scale),
    "broker-kill": Fault(2, broker_kill),
    "broker-stop": Fault(2, broker_stop),
    "coordinator-stop": Fault(1, coordinator_stop),
    "kafka-gone": Fault(0.3, kafka_gone),
    "leader": Fault(3, leader),
    "endpoint-down": Fault(1, endpoint_down),
    "endpoint-minute": Fault(0.15, endpoint_minute),
    "endpoint-hangs": Fault(1, endpoint_hangs),
    "hold": Fault(1, hold),
    "small": Fault(1, small),
    "denied": Fault(1, denied),
    "late-topic": Fault(0, late_topic),
    "clock": Fault(2, clock),
}
# Each once, in an order drawn from the seed.
SHORT = ("kill-alone", "sigstop", "sigterm", "sighup", "broker-kill", "leader", "endpoint-down", "denied", "sigkill")
