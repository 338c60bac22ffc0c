"""The faults of a chaos run. Each is a context: entered it breaks something, left it heals it. What is
drawn comes from the run's own generator, so that a seed repeats the choices."""

import contextlib
import signal

FAULTS = {}
NETWORK = set()  # those that may come on top of another one


def fault(network):
    def register(make):
        name = make.__name__
        FAULTS[name] = contextlib.contextmanager(make)
        if network:
            NETWORK.add(name)
        return make
    return register


# ---- processes ----

@fault(network=False)
def kill(lab, rng):
    """kill -9 of one, some or all; they start again one after the other."""
    victims = rng.sample(lab.members, rng.choice([1, 1, 1, rng.randrange(1, len(lab.members) + 1),
                                                  len(lab.members)]))
    for member in victims:
        lab.end(member)
    yield names(victims)
    for member in victims:
        lab.start(member)


@fault(network=False)
def pause(lab, rng):
    """A member, mostly the leader, stands still for longer than the election timeout."""
    member = lab.leader_or(rng, 0.7)
    member.process.send_signal(signal.SIGSTOP)
    try:
        yield member.name
    finally:
        member.process.send_signal(signal.SIGCONT)


# ---- network ----

def cutting(make):
    """The whole network is healed at the end: of network faults there is one at a time."""
    def with_heal(lab, rng):
        try:
            what = make(lab, rng)
            lab.network.apply()
            yield what
        finally:
            lab.network.heal_all()
            lab.network.apply()
    with_heal.__name__ = make.__name__
    return fault(network=True)(with_heal)


@cutting
def split(lab, rng):
    """Two sides that do not hear each other; clients stay with either."""
    some = rng.sample(lab.members, rng.randrange(1, len(lab.members)))
    inside = [h for h in lab.network.hosts if h in lab.hosts_of(some) or
              (h in lab.client_hosts and rng.random() < 0.5)]
    outside = [h for h in lab.network.hosts if h not in inside]
    lab.network.part(inside, outside)
    return f"{'+'.join(h.name for h in inside)} | {'+'.join(h.name for h in outside)}"


@cutting
def deaf(lab, rng):
    """A member sends and cannot hear the other members."""
    member = lab.leader_or(rng, 0.7)
    lab.network.cut(lab.hosts_of(lab.members), lab.hosts_of([member]))
    return member.name


@cutting
def mute(lab, rng):
    """A member hears and cannot send to the other members."""
    member = lab.leader_or(rng, 0.7)
    lab.network.cut(lab.hosts_of([member]), lab.hosts_of(lab.members))
    return member.name


@cutting
def bridge(lab, rng):
    """Two members, mostly the leader among them, do not see each other; the others see both."""
    a = lab.leader_or(rng, 0.7)
    b = rng.choice([m for m in lab.members if m is not a])
    lab.network.part(lab.hosts_of([a]), lab.hosts_of([b]))
    return f"{a.name} - {b.name}"


@cutting
def leader_cut(lab, rng):
    """The leader is cut from the members; clients still reach it."""
    leader = lab.leader_or(rng, 1)
    lab.network.part(lab.hosts_of([leader]), lab.hosts_of(lab.members))
    return leader.name


@cutting
def leader_cut_with_clients(lab, rng):
    """The leader and the clients of its host are cut from everybody."""
    leader = lab.leader_or(rng, 1)
    lab.network.part(lab.hosts_of([leader]), lab.network.hosts)
    return leader.name


@cutting
def loss(lab, rng):
    """Packets are lost on every link, or on those of one member, or one way only."""
    percent = rng.choice([1, 5, 10, 20, 30, 50])
    one = rng.choice([None, *lab.hosts_of(lab.members)])
    both_ways = rng.random() < 0.7
    for a in lab.network.hosts:
        for b in lab.network.hosts:
            if a is not b and (one is None or a is one or (both_ways and b is one)):
                lab.network.losses[(a, b)] = percent
    return f"{percent} % {one.name if one else 'everywhere'}{'' if both_ways else ', one way'}"


@cutting
def reset(lab, rng):
    """Connections are torn down again and again, one end learning of it before the other."""
    percent = rng.choice([1, 3, 10])
    hosts = rng.sample(lab.network.hosts, rng.randrange(1, len(lab.network.hosts) + 1))
    lab.network.resets = {host: percent for host in hosts}
    return f"{percent} % at {'+'.join(h.name for h in hosts)}"


@cutting
def throttle(lab, rng):
    """A member's host sends no more than a slow line takes."""
    member = lab.leader_or(rng, 0.5)
    lab.network.slow = {member.host_of_lab: rng.choice([64, 256, 1000])}
    return f"{member.name} {lab.network.slow[member.host_of_lab]} kbit/s"


# ---- disks ----

@fault(network=False)
def power_cut(lab, rng):
    """The power of some or all goes; what was not synced is lost."""
    victims = rng.sample(lab.members, rng.choice([1, 1, 2, len(lab.members)]))
    how = rng.choice([1, 2])
    for member in victims:
        lab.disks[member].cut_power(how)
    for member in victims:
        lab.end(member)
    yield f"{names(victims)} flag {how}"
    for member in victims:
        lab.disks[member].power_on()
        lab.start(member)


@fault(network=False)
def full_disk(lab, rng):
    """No room is left; half of the time a start falls into that time."""
    victims = rng.sample(lab.members, rng.choice([1, 1, len(lab.members)]))
    restarts = rng.random() < 0.5
    for member in victims:
        lab.disks[member].fill()
        if restarts:
            lab.end(member)
            lab.start(member)
    try:
        yield names(victims) + (" started again" if restarts else "")
    finally:
        for member in victims:
            lab.disks[member].free()


@fault(network=False)
def hung_disk(lab, rng):
    """Writes do not come back for a while."""
    member = lab.leader_or(rng, 0.7)
    lab.disks[member].freeze()
    try:
        yield member.name
    finally:
        lab.disks[member].thaw()


def names(members):
    return "+".join(sorted(m.name for m in members))
