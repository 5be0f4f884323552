"""Alert texts in English; ingestion/locale/ holds their French translation."""
