"""A share of SQLite's own suite in every test run; `./dev sqlite-suite` runs all 70 files."""
import suite

from harness import Node, test


@test(timeout=300)
def test_a_share_of_sqlites_own_suite_is_clean_on_the_mount(t):
    Node(t, name="probe")  # skips where there is no mount
    wrong = []
    for name in suite.listed(share_only=True):
        verdict, death = suite.run_on_mount(t, Node, name)
        print(f"{name}: {verdict.cases} cases, {verdict.errors} errors, {verdict.seconds:.1f} s", flush=True)
        if death or not (verdict.clean or name in suite.exceptions()):
            wrong.append(f"{name}: {verdict.errors} errors {verdict.failures[:5]} {death or ''}\n{verdict.output[-1500:]}")
    assert not wrong, "\n" + "\n".join(wrong)
