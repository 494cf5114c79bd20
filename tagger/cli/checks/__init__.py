"""What `tagger doctor` checks, a module per thing that can be wrong. Every check reads only and says how to mend."""
