"""What a release must keep right: cases, the golden set, graders, scorecards."""
