"""Entered and Exited: who of the same account is there (protocols/buckets.md "Sequencing and state")."""
import random

from buckets import AUTHENTICATED, CONNECT_FORBIDDEN, SIGNATURE_REFUSED, connect, disconnected, entered, exited, iam, pair
from harness import RelayTest


class PresenceTest(RelayTest):
    def members(self, count):
        """Devices of one account, with all their Entered read."""
        found = []
        for _ in range(count):
            newcomer = self.device()
            newcomer.expect_any_order(*(entered(m.pk) for m in found))
            for member in found:
                member.expect(entered(newcomer.pk))
            found.append(newcomer)
        return found

    def test_list_and_announcement(self):
        """A newcomer gets Authenticated, then one Entered per member; each member gets one Entered."""
        for member in self.members(5):
            member.quiet()

    def test_exited_by_every_way_to_leave(self):
        """Close, reset and half-close make one Exited at each member."""
        members = self.members(4)
        members[3].close()
        for member in members[:3]:
            member.expect(exited(members[3].pk))
        members[2].wire.reset()
        for member in members[:2]:
            member.expect(exited(members[2].pk))
        members[1].wire.half_close()
        members[0].expect(exited(members[1].pk))
        members[0].quiet()

    def test_disconnected_comes_before_exited(self):
        """A peer of the same account sees Disconnected, then Exited."""
        first, second = self.members(2)
        pair(first, second)
        second.wire.reset()
        first.expect(disconnected(second.pk), exited(second.pk))

    def test_accounts_do_not_see_each_other(self):
        """Presence is per account."""
        first, second = self.strangers()
        first.quiet()
        second.close()
        first.quiet()

    def test_unauthenticated_sessions_are_invisible(self):
        """Before Iam, after a wrong Iam, and at their end they cause no presence event, and they see none."""
        member = self.device()
        silent, failed = self.unauthenticated(), self.unauthenticated()
        failed.command(iam(bytes(64), failed.pk))
        failed.expect(SIGNATURE_REFUSED)
        failed.command(connect(member.pk))
        failed.expect(CONNECT_FORBIDDEN)
        other = self.device()
        member.expect(entered(other.pk))
        other.expect(entered(member.pk))
        silent.quiet()
        failed.quiet()
        silent.wire.reset()
        failed.close()
        third = self.device()
        member.expect(entered(third.pk))
        member.quiet()

    def test_failed_login_is_invisible(self):
        """A refused login of the account causes nothing."""
        member = self.device()
        self.assertEqual(self.get("/v1/relay", headers=[("Authorization", "Basic x")]).status, 403)
        member.quiet()

    def test_coming_and_going_alternates(self):
        """One device comes and goes thirty times: Entered and Exited alternate at the others."""
        watcher = self.device()
        key = None
        for _ in range(30):
            visitor = self.device(key=key)
            key = visitor.key
            visitor.expect(entered(watcher.pk))
            watcher.expect(entered(key.public))
            random.choice((visitor.close, visitor.wire.reset))()
            watcher.expect(exited(key.public))
        watcher.quiet()

    def test_entering_at_once(self):
        """Twelve devices prove themselves at the same moment: all end with the same view."""
        devices = [self.unauthenticated() for _ in range(12)]
        for device in devices:
            device.command(iam(device.key.sign(device.challenge), device.pk))
        for device in devices:
            device.expect(AUTHENTICATED)
            device.expect_any_order(*(entered(other.pk) for other in devices if other is not device))
        for device in devices:
            device.quiet()

    def test_takeover_within_the_account(self):
        """A takeover shows others Exited then Entered; the newer session gets the list without itself."""
        first, second, third = self.members(3)
        newer = self.device(key=second.key)
        newer.expect_any_order(entered(first.pk), entered(third.pk))
        for viewer in (first, third):
            viewer.expect(exited(second.pk), entered(second.pk))
            viewer.quiet()
        self.assertEqual(second.read_close(), (4000, "superseded"))

    def test_many_members(self):
        """Forty devices of one account: every list is whole."""
        devices = []
        for _ in range(40):
            devices.append(self.device())
        for number, device in enumerate(devices):
            device.expect_any_order(*(entered(other.pk) for other in devices if other is not device))
            self.assertLess(number, 40)
            device.quiet()

    def test_more_members_than_are_told_at_once(self):
        """One hundred and fifty devices come, half of them go, one key is taken over meanwhile: the rest are told all of it."""
        devices = [self.device() for _ in range(150)]
        staying, going = devices[:75], devices[75:]
        for device in staying:
            device.expect_any_order(*(entered(other.pk) for other in devices if other is not device))
        taken = staying.pop()
        for device in going:
            device.wire.reset()
        self.device(key=taken.key)
        for viewer in staying:
            gone = [exited(other.pk) for other in going] + [exited(taken.pk), entered(taken.pk)]
            viewer.expect_any_order(*gone)
            viewer.quiet()
        self.assertEqual(taken.read_close(), (4000, "superseded"))
