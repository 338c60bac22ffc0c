"""From the parts of a history to one file, the verdict of tests/sim/history_check, and the figures of
a run."""

import bisect
import collections
import json
import os
import subprocess

WRITES = {"put", "delete", "cas"}


class Verdict:
    def __init__(self, checker, folder):
        self.checker = checker
        self.path = os.path.join(folder, "history.jsonl")
        self.operations, self.outcomes, self.events = 0, collections.Counter(), 0
        self.accepted = []  # times at which writes were acknowledged
        self.last_words = ""

    def judge(self, parts):
        """Violations in words; empty is good."""
        with open(self.path, "w", encoding="ascii") as out:
            for part in parts:
                self.take(part, out)
        self.accepted.sort()
        done = subprocess.run([self.checker, "--all-known", self.path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        self.last_words = done.stdout.strip()
        return [] if done.returncode == 0 else [self.last_words or f"exit code {done.returncode}"]

    def take(self, part, out):
        begun = None
        with open(part, encoding="ascii") as lines:
            for text in lines:
                out.write(text)
                if text.startswith('{"op":"begin"'):
                    begun = text
                elif text.startswith('{"op":"end"'):
                    self.count(json.loads(begun), json.loads(text))
                elif text.startswith('{"op":"watch_events"'):
                    self.events += text.count('"key":')

    def count(self, begun, ended):
        self.operations += 1
        self.outcomes[ended["outcome"]] += 1
        if ended["outcome"] == "ok" and begun["kind"] in WRITES:
            self.accepted.append(ended["time"])

    def longest_gap(self, begin, end):
        """Seconds between two acknowledged writes one after the other, at most, in that time."""
        first = bisect.bisect_left(self.accepted, begin)
        inside = self.accepted[max(0, first - 1):bisect.bisect_right(self.accepted, end) + 1]
        return max((b - a for a, b in zip(inside, inside[1:])), default=end - begin) / 1e9

    def print_summary(self, happened, seconds):
        gaps = collections.defaultdict(list)
        for name, begin, end in happened:
            gaps[name].append(self.longest_gap(begin, end))
        print(f"\n{'fault':34} {'times':>5}   without an accepted write, s: median, longest")
        for name, values in sorted(gaps.items()):
            values.sort()
            print(f"{name:34} {len(values):5}   {values[len(values) // 2]:.2f}  {values[-1]:.2f}")
        print(f"\n{self.operations:,} operations in {seconds:.0f} s ({self.operations / seconds:,.0f}/s), "
              f"{self.outcomes['unknown']:,} of unknown outcome, {self.outcomes['failed']:,} refused, "
              f"{self.events:,} events, {len(happened)} faults")
        if self.last_words:
            print("history_check: " + self.last_words.replace("\n", "; "))
