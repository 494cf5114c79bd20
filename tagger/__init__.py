"""Recognises landmarks in photos: scans, decodes, classifies and stores."""
