"""What the tagger is compared with, and how: programs that anybody can run, each printing Markdown to stdout.

None of them asserts a time. `docs/performance.md` says what they printed, where and when. `bench.soak` compares
nothing: it breaks what it can and checks that no photo is lost.
"""
