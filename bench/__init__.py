"""What the tagger is compared with, and how: programs that anybody can run, each printing Markdown to stdout.

None of them asserts a time. `bench.compare` is the one to begin with; `docs/how-to/benchmark.md` says which there are and how
to read them, `docs/explanation/performance.md` what they printed, where and when. `bench.soak` compares nothing: it breaks what it
can and checks that no photo is lost.
"""
