"""What a command leaves behind: tables, pictures, reports, and the statistics in them."""
