"""What `mtm` is trained and measured on, made of the claims and tweets of CheckThat 2020."""
