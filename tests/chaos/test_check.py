#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The checker, with histories written by hand: each rule with one that keeps it and one that breaks it."""
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from history import Cast, Checker, History, Latency, Push, Session, Strike  # noqa: E402


class Check(unittest.TestCase):
    def setUp(self):
        self.history = History()

    def push(self, n, users=(1,), accepted=True):
        push = Push(f'm{n}', n, frozenset(users), float(n))
        self.history.pushed(push)
        push.accepted = n + 0.1 if accepted else None
        return push

    def session(self, got, began=0.0, user=1, ended=None, how=None, unread=(), deaf=0.0, room=None):
        """got: bodies, a tenth of a second apart; or (time, body)."""
        session = Session(user, 'tcp', 1, began)
        session.room = room
        self.history.opened(session)
        for n, one in enumerate(got):
            at, body = one if isinstance(one, tuple) else (began + n / 10, one)
            self.history.arrived(session, body, at)
        if how:
            session.end(ended, how, unread, deaf)
        return session

    def wrong(self, *words):
        """The checker says just that."""
        problems = Checker(self.history).run()
        self.assertEqual(len(problems), len(words), problems)
        for problem, word in zip(problems, words):
            self.assertIn(word, problem)

    def test_all_arrived(self):
        self.push(1), self.push(2, (1, 2)), self.push(3, accepted=False)
        self.session(['m1', 'm2'])
        self.session(['m2'], user=2)
        self.wrong()

    def test_lost(self):
        self.push(1), self.push(2)
        self.session(['m1'])
        self.wrong('I1: 1 accepted messages are lost: m2 of user 1')

    def test_lost_for_one_of_two_users(self):
        self.push(1, (1, 2))
        self.session(['m1'])
        self.wrong('m1 of user 2')

    def test_unread_at_a_death(self):
        for deaf, words in ((1.5, ()), (0.3, ('I1',))):
            with self.subTest(deaf=deaf):
                self.history = History()
                self.push(1)
                self.session([], ended=3.0, how='killed', unread=['m1'], deaf=deaf)
                self.wrong(*words)

    def test_unread_behind_a_fin(self):
        self.push(1), self.push(2)
        self.session([], ended=3.0, how='hasty', unread=['m1'])
        self.wrong('I1: 1 accepted messages are lost: m2')

    def test_order_in_a_session(self):
        self.history.twins = {1}
        self.push(1), self.push(2)
        self.session(['m2', 'm1'])
        self.wrong('I2: out of order in a session of user 1')

    def test_twice_in_a_session(self):
        self.history.twins = {1}
        self.push(1)
        self.session(['m1', 'm1'])
        self.wrong('I2: twice in a session')

    def test_overtaken(self):
        self.push(1), self.push(2)
        self.session(['m2'], 5.0, ended=6.0, how='reset')
        self.session(['m1'], 7.0)
        self.wrong('I2: user 1 got m2 before m1')

    def test_twins_share_a_cursor(self):
        self.history.twins = {1}
        self.push(1), self.push(2)
        self.session(['m1', 'm2'])
        self.session(['m2'])
        self.wrong()

    def test_second_arrivals(self):
        cases = [('left', 2.0, None, False), ('left', 0.5, None, True), ('reset', 2.0, None, True), ('server', 2.0, None, True),
                 ('left', 2.0, Strike('kill job', 0.5), True), ('left', 60.0, Strike('kill job', 5.0), False),
                 ('left', 60.0, Strike('kill memcached', 5.0, True), True)]
        for how, apart, strike, allowed in cases:
            with self.subTest(how=how, apart=apart, strike=strike and strike.name):
                self.history = History()
                self.push(1)
                self.session([(0.9, 'm1')], ended=1.0, how=how)
                self.session([(1.1 + apart, 'm1')], 1.0 + apart)
                if strike:
                    strike.healed = strike.began + 1.0
                    self.history.strikes.append(strike)
                self.wrong(*() if allowed else ('I2: m1 of user 1 twice',))

    def test_foreign(self):
        self.push(1)
        self.session(['m1'])
        self.session(['m1', 'm99'], user=2)
        self.wrong('I3: user 2 got m1, which was for [1]', "I3: user 2 got 'm99', which nobody pushed")

    def test_casts(self):
        for n, room in ((1, 'a'), (2, 'a'), (1, None)):
            cast = Cast(f'{room}{n}', n, room, 0.0)
            cast.accepted = 1.0
            self.history.cast[cast.body] = cast
        self.session(['a1', 'None1', 'a2'], room='a')
        self.session(['a2'], room='a')
        self.wrong()
        self.session(['a2', 'a1'], room='a')
        self.session(['None1', 'None1'], room='a')
        self.session(['a1'], room='b')
        self.wrong('a1 after number 2', 'None1 twice', 'a1 in a session that is in room b')

    def test_latency(self):
        for n in range(10):
            self.push(n)
        self.session([(n + (5.0 if n == 4 else 0.2), f'm{n}') for n in range(9)])
        latency = Latency(self.history, {1}, 0.0, 9.0)
        self.assertEqual(latency.normal_at(0.5), 9.0)
        self.assertEqual(latency.normal_at(6.0), 0.0)
        self.assertEqual(Latency(self.history, {1}, 0.0, 10.0).normal_at(6.0), 1e9)


if __name__ == '__main__':
    unittest.main()
