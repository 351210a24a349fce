#!/usr/bin/env python3
"""usage: junit_counts.py CTEST.xml OUT: writes "passed failed skipped" to OUT; prints failures and reasons of skips."""
import os
import re
import sys
import xml.etree.ElementTree as xml


def main(source, out):
    passed = failed = skipped = 0
    if not os.path.exists(source):
        print("ctest wrote no result: see the log beside", source)
        failed = 1
    else:
        for case in xml.parse(source).getroot().iter("testcase"):
            status = case.get("status")
            if status == "run":
                passed += 1
            elif status in ("notrun", "disabled"):
                skipped += 1
                text = "".join(case.itertext())
                reason = re.search(r"Skipped\n(.*?)\n", text) or re.search(r"Failure\n(.*?)\n", text)
                print(f"SKIP {case.get('name')}: {reason.group(1) if reason else text.strip()[-200:] or 'not run'}")
            else:
                failed += 1
                print("FAIL", case.get("name"))
    print(f"unit tests: {passed} passed, {failed} failed, {skipped} skipped")
    with open(out, "w") as f:
        f.write(f"{passed} {failed} {skipped}\n")


main(*sys.argv[1:])
