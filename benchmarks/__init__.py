"""What AILB costs and adds, measured against its bare upstream in the same run."""
