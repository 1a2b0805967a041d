"""What the pages of the site are made of besides text, a part a module."""
