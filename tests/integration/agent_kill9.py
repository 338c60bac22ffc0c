"""kill -9 of the agent at random moments: every file is the old one or the new one, whole; nothing
that was owed to the service is forgotten; no stage outlives the next start."""

import os
import random
import time
import unittest

from agent_host import Host
from cluster import until

ROUNDS = int(os.environ.get("DECREE_KILL_ROUNDS", "25"))
LINES = 2000


def body(n):
    return f"begin {n}\n" + f"line {n}\n" * LINES + f"end {n}\n"


TEMPLATE = ('begin {{getv "/app/v"}}\n{{range seq 1 ' + str(LINES) + '}}line {{getv "/app/v"}}\n'
            '{{end}}end {{getv "/app/v"}}\n')


class Kill9(unittest.TestCase):
    def test_every_file_is_whole_and_every_reload_is_made_up_for(self):
        seed = int(os.environ.get("DECREE_SEED") or time.time_ns() % 1_000_000)
        print(f"DECREE_SEED={seed}", flush=True)
        rng = random.Random(seed)
        with Host() as h:
            # What the service runs is a copy of the file, taken by the reload.
            h.resource(template=TEMPLATE, check=f"grep -q ^end {{{{.src}}}}",
                       reload=f"cp {h.dest()} {h.path('service')}")
            h.put("/app/v", "0")
            h.start()
            h.wait_file(body(0))
            last = 0
            for _ in range(ROUNDS):
                for _ in range(3):
                    last += 1
                    h.put("/app/v", str(last))
                time.sleep(rng.uniform(0, 0.03))  # the moment of the kill is what is random here
                h.kill9()
                text = h.read("out/app")
                n = int(text.split("\n", 1)[0].split()[1])
                self.assertEqual(text, body(n), f"the file is torn after a kill, seed {seed}")
                h.start()
            h.wait_file(body(last), limit_s=20)
            until(10, "the service has taken the last one",
                  lambda: h.read("service") == body(last))
            h.wait_status("ok", also=lambda s: s["rendered_revision"] > last)
            self.assertEqual(os.listdir(h.out), ["app"], "a stage is left behind")


if __name__ == "__main__":
    unittest.main()
