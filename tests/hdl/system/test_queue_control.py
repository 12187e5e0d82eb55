"""QueueControl: halts, aborts, resumes, disabling and resets; nothing that was read is forgotten."""

import pytest

from hdl.spec.formats import Code
from hdl.system.queue_control import QueueControl
from tests.bench.harness import check_reset, made, simulate

FLAGS = ("active", "counts", "run", "halted", "cancel", "abandon", "code")
READ, ABORTED = int(Code.READ_ERROR), int(Code.ABORTED)


class Host:
    """Sets inputs for a cycle or for good, and reads the outputs."""

    def __init__(self, ctx, dut):
        self.ctx, self.dut = ctx, dut

    def set(self, **values):
        for name, value in values.items():
            self.ctx.set(getattr(self.dut, name), value)

    async def pulse(self, name):
        self.set(**{name: 1})
        await self.ctx.tick()
        self.set(**{name: 0})

    async def fault(self, code=READ):
        self.set(fault_code=code)
        await self.pulse("fault")

    async def wait(self, cycles=3):
        await self.ctx.tick().repeat(cycles)

    def shows(self, **values):
        found = {name: self.ctx.get(getattr(self.dut, name)) for name in values}
        assert found == values

    async def begin(self, busy):
        self.set(enable=1, serve=1, busy=busy)
        await self.wait()
        self.shows(run=1, active=1, counts=1, halted=0, cancel=0, abandon=0, code=0)


def scenario(*arguments, **options):
    """A test of a story told by a coroutine (host)."""

    def decorate(story):
        def test():
            dut = made(QueueControl)

            async def bench(ctx):
                await story(Host(ctx, dut))

            simulate(dut, bench, cycles=200)

        test.__doc__ = story.__doc__
        return test

    return decorate(*arguments, **options)


@scenario
async def test_a_fault_halts(host):
    """All that is here has its code until nothing is here any more, however long the fault itself is dealt with."""
    await host.begin(busy=1)
    await host.fault()
    host.shows(run=0, halted=1, code=READ, cancel=READ, abandon=READ)
    host.set(fault_code=0)
    await host.wait()
    host.shows(cancel=READ, abandon=READ)
    await host.pulse("resume")
    await host.wait()
    host.shows(halted=1, run=0)
    host.set(busy=0)
    await host.wait()
    host.shows(halted=0, run=1, code=0, cancel=0, abandon=0)


@scenario
async def test_a_resume_waits_for_the_end_of_the_fault(host):
    await host.begin(busy=0)
    await host.fault()
    await host.pulse("resume")
    await host.wait(10)
    host.shows(halted=1, run=0, cancel=READ)
    host.set(fault_code=0)
    await host.wait()
    host.shows(halted=0, run=1, cancel=0)


@pytest.mark.parametrize("again", ["fault", "abort"])
def test_another_halt_takes_back_a_resume(again):
    async def story(host):
        await host.begin(busy=1)
        await host.fault()
        await host.pulse("resume")
        await (host.fault() if again == "fault" else host.pulse("abort"))
        host.set(busy=0, fault_code=0)
        await host.wait(10)
        host.shows(halted=1, run=0, code=READ if again == "fault" else ABORTED)

    scenario(story)()


@scenario
async def test_an_abort_halts(host):
    await host.begin(busy=1)
    await host.pulse("abort")
    host.shows(run=0, halted=1, code=ABORTED, cancel=ABORTED, abandon=ABORTED)
    await host.fault()
    host.shows(abandon=READ, code=ABORTED, halted=1)
    host.set(busy=0, fault_code=0)
    await host.wait()
    host.shows(cancel=0, abandon=0, halted=1, code=ABORTED)
    await host.pulse("resume")
    await host.wait()
    host.shows(halted=0, run=1)


@scenario
async def test_an_abort_of_nothing_dooms_nothing(host):
    await host.begin(busy=0)
    await host.pulse("abort")
    host.set(busy=1)
    await host.wait()
    host.shows(halted=1, cancel=0, abandon=0)


@scenario
async def test_a_resume_of_a_queue_that_runs_is_forgotten(host):
    await host.begin(busy=0)
    await host.pulse("resume")
    await host.pulse("abort")
    await host.wait(10)
    host.shows(halted=1)


@scenario
async def test_disabled_it_ends_what_is_here(host):
    """And is blocked until it is disabled with nothing here."""
    await host.begin(busy=1)
    host.set(enable=0)
    await host.wait()
    host.shows(active=1, counts=0, run=0, cancel=ABORTED, abandon=ABORTED, halted=0)
    host.set(enable=1)
    await host.wait()
    host.shows(active=1, counts=0, run=0)
    host.set(busy=0)
    await host.wait()
    host.shows(active=0, counts=0, run=0, cancel=0)
    host.set(enable=0)
    await host.wait()
    host.set(enable=1)
    await host.wait()
    host.shows(active=1, counts=1, run=1)


@scenario
async def test_disabled_it_forgets_why_it_was_halted(host):
    await host.begin(busy=0)
    await host.pulse("abort")
    await host.pulse("resume")
    await host.pulse("abort")
    host.set(enable=0)
    await host.wait(2)
    host.shows(halted=0, code=0)
    host.set(enable=1)
    await host.wait(2)
    host.shows(run=1)


@scenario
async def test_after_a_reset_it_must_be_disabled(host):
    await host.begin(busy=0)
    host.set(reset=1)
    await host.wait(4)
    host.shows(active=0, counts=0, run=0)
    host.set(reset=0)
    await host.wait(4)
    host.shows(active=0, counts=0, run=0)
    host.set(enable=0)
    await host.wait(2)
    host.set(enable=1)
    await host.wait(2)
    host.shows(active=1, counts=1, run=1)


@scenario
async def test_it_does_not_run_while_a_fault_is_dealt_with_or_unserved(host):
    host.set(fault_code=READ, enable=1, serve=1)
    await host.wait()
    host.shows(run=0, cancel=READ, halted=0)
    host.set(fault_code=0)
    await host.wait()
    host.shows(run=1)
    host.set(serve=0)
    host.shows(run=0, active=1)


def test_reset():
    def prepare(dut):
        found = []

        async def bench(ctx):
            host = Host(ctx, dut)
            await host.begin(busy=1)
            for step in ("abort", "resume", "fault"):
                await host.pulse(step)
                await host.wait(2)
                found.append([ctx.get(getattr(dut, name)) for name in FLAGS])

        return bench, [], found

    check_reset(QueueControl, prepare, cycles=100)
