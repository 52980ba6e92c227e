"""Files that go with mails: what they may be, where they lie, and that they are what was approved."""
