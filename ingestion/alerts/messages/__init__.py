"""The texts of alerts, in English; locale/ holds their translations."""
