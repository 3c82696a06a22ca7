"""Runs beside each other: searched by what they were and gave, compared, tagged and commented."""
